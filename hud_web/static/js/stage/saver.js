// @ts-check
/** Saves an episode as GIF, as WebP, or as one PNG with its frames side by side. A worker does the work. */

import { openDialog } from "../ui/dialogs.js";
import { el, setText } from "../ui/dom.js";
import { download } from "../ui/download.js";
import { number, time } from "../ui/format.js";

/** @import { Frames, Episode } from "./frames.js" */

const MOST_FRAMES = 1200;
/** The length that is saved if frames have no episode. */
const WITHOUT_EPISODE_MS = 20_000;
const KINDS = /** @type {const} */ ({
  gif: ["GIF", "image/gif"],
  webp: ["WebP", "image/webp"],
  png: ["PNG strip", "image/png"],
});

/** @param {Frames} frames @param {number | null} moment */
export function openSaver(frames, moment) {
  const end = moment ?? frames.all.at(-1)?.t ?? 0;
  const here = frames.episodeAt(end);
  const choices = /** @type {[string, Episode][]} */ ([]);
  if (here) choices.push([moment === null ? "The running episode" : "The episode shown", here]);
  const last = frames.finished().at(-1);
  if (last && last !== here) choices.push(["The last finished episode", last]);
  const best = frames.best();
  if (best && best !== here && best !== last) choices.push(["The best episode", best]);
  const preferred = moment === null && last ? last : here;
  openDialog("save", "Save an episode", (close) => {
    const what = el(
      "select",
      { "aria-label": "Episode" },
      ...choices.map(([label, episode], i) =>
        el("option", { value: i, selected: episode === preferred }, `${label}: ${describe(episode)}`),
      ),
    );
    const scale = el(
      "select",
      { "aria-label": "Size" },
      ...[1, 2, 3, 4].map((factor) => el("option", { value: factor, selected: factor === 2 }, `${factor}×`)),
    );
    const progress = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Progress" });
    const word = el("p", { class: "muted", role: "status" });
    const buttons = Object.entries(KINDS).map(([kind, [label]]) =>
      el(
        "button",
        {
          type: "button",
          class: "primary",
          onclick: async () => {
            const episode = choices[Number(what.value)]?.[1];
            if (!episode) return;
            for (const other of buttons) other.disabled = true;
            progress.hidden = false;
            const made = await make(
              frames,
              episode,
              /** @type {keyof typeof KINDS} */ (kind),
              Number(scale.value),
              (share, text) => {
                progress.value = share;
                setText(word, text);
              },
            );
            for (const other of buttons) other.disabled = false;
            if (!made) setText(word, "These frames are no longer stored.");
            else {
              download(made, `hud-episode-${episode.number ?? "unknown"}.${kind}`);
              close();
            }
          },
        },
        label,
      ),
    );
    return [
      el("div", { class: "save-form" }, el("label", {}, "Episode ", what), el("label", {}, "Size ", scale)),
      el("div", { class: "choices" }, ...buttons),
      progress,
      word,
    ];
  });
}

/** @param {Episode} episode */
function describe(episode) {
  const name = episode.number === null ? time(episode.start) : `no. ${episode.number}`;
  return episode.value === null ? name : `${name}, return ${number(episode.value)}`;
}

/**
 * @param {Frames} frames @param {Episode} episode @param {keyof typeof KINDS} kind @param {number} scale
 * @param {(share: number, text: string) => void} onProgress
 * @returns {Promise<Blob | null>}
 */
export async function make(frames, episode, kind, scale, onProgress) {
  const from = episode.number === null ? Math.max(episode.start, episode.end - WITHOUT_EPISODE_MS) : episode.start;
  const first = Math.max(0, frames.indexAt(from - 1) + 1);
  const wanted = frames.all.slice(first, frames.indexAt(episode.end) + 1).slice(-MOST_FRAMES);
  const shots = /** @type {{blob: Blob, t: number}[]} */ ([]);
  for (let i = 0; i < wanted.length; i += 4) {
    const blobs = await Promise.all(wanted.slice(i, i + 4).map((frame) => frames.blob(frame.id)));
    blobs.forEach((blob, j) => blob && shots.push({ blob, t: wanted[i + j].t }));
    onProgress((i / wanted.length) * 0.3, `fetching frame ${i + 1} of ${wanted.length}`);
  }
  if (!shots.length) return null;
  const worker = new Worker(new URL("./saver-worker.js", import.meta.url), { type: "module" });
  try {
    return await new Promise((resolve) => {
      worker.onmessage = ({ data }) => {
        if (data.blob !== undefined) resolve(data.blob);
        else
          onProgress(
            0.3 + data.share * 0.7,
            `drawing frame ${Math.round(data.share * shots.length)} of ${shots.length}`,
          );
      };
      worker.onerror = () => resolve(null);
      worker.postMessage({ shots, kind, scale });
    });
  } finally {
    worker.terminate();
  }
}
