// @ts-check
/**
 * The shapes that cross module borders, after docs/protocol.md. Holds no code.
 *
 * @typedef {{[name: string]: any}} Fields nested values by name
 *
 * @typedef {{channel: string, sid: string | null, status: "live" | "lapsed" | "ended" | "taken over" | "waiting",
 *   name: string | null, started_ms: number | null, ended_ms: number | null, ended_by: string | null, ttl_s: number | null,
 *   reporter: [number, number] | null, info: Fields | null}} Session
 *
 * @typedef {{id: string, stream: "metrics" | "iterations", step: number | null, time_ms: number, writer: string,
 *   not_finite?: string[]}} Origin `not_finite`: paths of fields that were NaN or infinite
 *
 * @typedef {{id: string | null, mime: string, step: number | null, episode: number | null, env: [number, number] | null,
 *   time_ms: number, bytes: ArrayBuffer | null, source: "env" | "vlm" | "thumbnail", response_time: number | null,
 *   prompt: string | null, response: string | null, extra: Fields | null}} Picture `bytes` is null where the picture is
 *   to be fetched by its id
 *
 * @typedef {{channel: string, session: string}} What is shown; `session` "" for whoever holds the channel
 *
 * @typedef {"connecting" | "open" | "down"} LinkState
 *
 * @typedef {{kind: "link", state: LinkState, retryAt: number | null, detail: string | null}
 *   | {kind: "session", session: Session}
 *   | {kind: "snapshot", session: Session, state: Fields, frame: Picture | null, vision: Picture | null,
 *      viewers: number | null, serverTimeMs: number | null}
 *   | {kind: "update", fields: Fields, origin: Origin}
 *   | {kind: "picture", picture: Picture}
 *   | {kind: "status", redis: string, detail: string | null, viewers: number | null, serverTimeMs: number | null}
 *   | {kind: "reset", reason: string | null}} Message what the feed tells a page
 */
export {};
