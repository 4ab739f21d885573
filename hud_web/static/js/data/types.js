// @ts-check
/**
 * Types that several modules use, after docs/protocol.md. Contains no code.
 *
 * @typedef {{[name: string]: any}} Fields nested values by name
 *
 * @typedef {{channel: string, sid: string | null, status: "live" | "lapsed" | "ended" | "taken over" | "waiting",
 *   name: string | null, started_ms: number | null, ended_ms: number | null, ended_by: string | null,
 *   ttl_s: number | null, reporter: [number, number] | null, info: Fields | null, roles?: Roles}} Session
 *
 * @typedef {{id: string, stream: "metrics" | "iterations" | "machine", step: number | null, time_ms: number,
 *   writer: string, roles?: Roles}} Origin of an update; `roles`: only if this entry changed them
 *
 * @typedef {Record<string, {path: string, label: string}[]>} Roles role → its fields, as the server decided; several
 *   policies have several fields of one role
 *
 * @typedef {{stall_after_ms: number, last_entry_ms: number | null, phase: string, phase_since_ms: number,
 *   phase_usual_ms: number | null, phase_hung_after_ms: number}} Rhythm the silences after which a run counts as
 *   stalled or hung
 *
 * @typedef {{id: string, kind: string, time_ms: number, text: string, step: number | null, iteration: number | null,
 *   entry_id: string | null, fields: string[], value: string | null, pattern: string | null}} Annotation an event of
 *   the run that the server's monitor found; `value`: of a field that is not finite; `pattern`: of a symptom
 *
 * @typedef {{text: string, pattern: string | null, fields: string[], time_ms: number | null, step: number | null,
 *   entry_id: string | null}} Clause a part of the verdict with its evidence
 *
 * @typedef {{level: "early" | "good" | "flat" | "warning" | "bad" | "ended", text: string, clauses: Clause[],
 *   time_ms: number}} Verdict the monitor's judgement of the run; `text` joins the clauses
 *
 * @typedef {{id: string, time_ms: number, step: number | null, writer: string, kind: string, process: string,
 *   data: Fields}} Report of a process: a death, a restart, a log line or an alert
 *
 * @typedef {{id: string | null, mime: string, step: number | null, episode: number | null,
 *   env: [number, number] | null, time_ms: number, bytes: ArrayBuffer | null, source: "env" | "vlm" | "thumbnail",
 *   response_time: number | null, prompt: string | null, response: string | null, extra: Fields | null}} Picture
 *   `bytes`: null if the page fetches the picture by its id
 *
 * @typedef {{id: string, t: number, time_ms: number, step: number | null, episode: number | null,
 *   env: [number, number] | null, action: number | (number | null)[] | null, actionName: string | null,
 *   actionNames: string[][], probabilities: (number | null)[][], mean: (number | null)[], deviation: (number | null)[],
 *   qValues: (number | null)[], value: number | null, entropy: number | null, observation: (number | null)[],
 *   observationNames: string[], observationNote: string | null, observationTiles: (number | null)[],
 *   observationRange: (number | null)[], rewardParts: [string, number][],
 *   advice: {action: string, probability: number | null, agrees: boolean | null, text: string | null} | null,
 *   bytes: ArrayBuffer | null, mime: string, hasPicture: boolean}} Mind the policy's view of one step; parts that the
 *   trainer does not send are empty or null; `actionNames`, `probabilities`: a list for each choice, of which most
 *   policies make one; `t`: when it was appended; `time_ms`: when it was made; `bytes`: of the observation's picture,
 *   null if the page fetches it by the id; `entropy`: in nats
 *
 * @typedef {{channel: string, session: string}} Selection of the data that the page shows; `session`: "" follows the
 *   channel's current session
 *
 * @typedef {{name: string, active: boolean, last_activity_ms: number, session: {sid: string, name: string | null,
 *   status: Session["status"], started_ms: number | null, ended_ms: number | null} | null,
 *   verdict?: {level: Verdict["level"], text: string} | null}} Channel `session`: the newest
 *
 * @typedef {"connecting" | "open" | "down"} ConnectionState
 *
 * @typedef {{kind: "connection", state: ConnectionState, retryAt: number | null, detail: string | null}
 *   | {kind: "session", session: Session}
 *   | {kind: "snapshot", session: Session, state: Fields, notFinite: Record<string, {value: string, time_ms: number,
 *      step: number | null}>, roles: Roles, rhythm: Rhythm | null, verdict: Verdict | null, frame: Picture | null,
 *      vision: Picture | null, mind: Mind | null, viewers: number | null, serverTimeMs: number | null}
 *   | {kind: "update", fields: Fields, origin: Origin}
 *   | {kind: "picture", picture: Picture}
 *   | {kind: "mind", mind: Mind}
 *   | {kind: "annotation", annotation: Annotation}
 *   | {kind: "report", report: Report}
 *   | {kind: "activity", timeMs: number | null}
 *   | {kind: "status", redis: string, detail: string | null, rhythm: Rhythm | null, verdict: Verdict | null,
 *      viewers: number | null, serverTimeMs: number | null}
 *   | {kind: "reset", reason: string | null}} Message from the feed to a page
 */
export {};
