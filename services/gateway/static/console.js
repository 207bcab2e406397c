"use strict";
/* What the pages do beyond links and forms. Without it they can be read, and every form works. */

document.documentElement.classList.add("js");

const announcer = () => document.getElementById("announce");
let announced = "";

function announce(text) {
  if (!text || text === announced) return;
  announced = text;
  announcer().textContent = text;
}

/* What went wrong, in the gateway's own words. */
function complaint(text, status) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return status ? `The answer was ${status}.` : "The gateway does not answer.";
  }
}

/* ---- htmx: what was swapped in is told to who cannot see it; an error is shown where it happened ---- */

document.addEventListener("htmx:afterSwap", (event) => {
  const said = event.target.closest?.("[data-announce]") ?? document.getElementById(event.target.id)?.closest("[data-announce]");
  if (said) announce(said.dataset.announce);
});
document.addEventListener("htmx:responseError", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401) location.reload();
  announce(complaint(xhr.responseText, xhr.status));
});

/* ---- a photo that cannot be read says so ---- */

function nothingToSee(image) {
  if (image.closest(".photo")) image.replaceWith(Object.assign(document.createElement("span"), { className: "none", textContent: "cannot be shown" }));
}
document.addEventListener("error", (event) => event.target.matches?.("img") && nothingToSee(event.target), true);
for (const image of document.images) if (image.complete && image.currentSrc && !image.naturalWidth) nothingToSee(image);

/* ---- a new job: what is chosen stands on its list, and a list can be searched ---- */

function choose(picks) {
  const chosen = [...picks.querySelectorAll("input:checked")].map((box) => box.value);
  picks.querySelector("[data-chosen]").textContent = chosen.join(", ") || "all";
}

for (const picks of document.querySelectorAll(".picks")) {
  picks.addEventListener("change", () => choose(picks));
  picks.querySelector("[data-find]")?.addEventListener("input", (event) => {
    const text = event.target.value.trim().toLowerCase();
    for (const choice of picks.querySelectorAll(".check")) {
      choice.hidden = !choice.querySelector("input").value.toLowerCase().includes(text);
    }
    event.stopPropagation(); /* it changes nothing that is asked for */
  });
  choose(picks);
}

/* A link to a field that is wrong opens what it is folded into. */
function unfold() {
  const form = document.getElementById("new-job");
  const target = form && location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || !form.contains(target)) return;
  target.closest("details")?.setAttribute("open", "");
  (target.matches("input, select") ? target : target.querySelector("summary, input, select"))?.focus();
}
addEventListener("hashchange", unfold);

/* ---- disagreements: one at a time, a key each ---- */

const review = document.querySelector(".review");
if (review) {
  const NEAR_THE_END = 5;
  const LAST = "That was the last one.";
  let index = 0;
  let loading = false;
  let again = false; /* asked for while it was loading */

  const items = () => [...review.children];
  const here = () => items()[index];
  const open = (item) => !("verdict" in item.dataset);

  const show = (next, focus = true) => {
    const all = items();
    if (!all.length) return;
    index = Math.max(0, Math.min(next, all.length - 1));
    all.forEach((item, number) => item.classList.toggle("here", number === index));
    if (focus) here().focus({ preventScroll: false });
    fetchMore();
  };

  /* The next ones are asked for while there are still some to judge. */
  async function fetchMore() {
    if (!review.dataset.more || items().filter(open).length > NEAR_THE_END) return;
    again = loading;
    if (loading) return;
    loading = true;
    try {
      const answer = await fetch(review.dataset.more, { headers: { Accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const listed = [...page.querySelectorAll(".review > li")];
      const known = (item) => document.getElementById(item.id);
      /* What is judged and listed all the same: its verdict is on its way, and asks again when it is kept. */
      if (listed.every((item) => known(item) && open(known(item)))) {
        delete review.dataset.more;
        if (!items().some(open)) announce(LAST);
      }
      for (const item of listed.filter((each) => !known(each))) {
        review.append(document.adoptNode(item));
        htmx.process(item);
      }
      /* Whoever was faster than this waits for it. */
      const next = items().findIndex(open);
      if (!open(here()) && next >= 0) show(next);
    } finally {
      loading = false;
    }
    if (again) fetchMore();
  }

  const count = (change) => {
    const left = document.getElementById("left");
    left.textContent = Math.max(0, Number(left.textContent.replaceAll(/\D/g, "")) + change).toLocaleString("en");
  };

  const WORDS = { accepted: "the photo is right", dismissed: "cannot be told", corrected: "corrected" };

  /* The next one is there at once; if the verdict could not be kept, it comes back with the reason. */
  review.addEventListener("htmx:beforeRequest", (event) => {
    const item = event.target.closest("li");
    const { verdict, label } = Object.fromEntries(event.detail.requestConfig.formData);
    const said = label ? `it is ${label}` : WORDS[verdict];
    if (open(item)) count(-1);
    item.dataset.verdict = verdict;
    item.querySelector(".judged").textContent = `You said: ${said}.`;
    const all = items();
    const next = all.findIndex((each, number) => number > index && open(each));
    const any = next >= 0 ? next : all.findIndex(open);
    if (any >= 0) {
      show(any);
      const title = here().querySelector(".says");
      announce(`${said}. Next: ${title.innerText.replaceAll(/\s+/g, " ")}`);
    } else {
      announce(`${said}. ${review.dataset.more ? "The next ones are on their way." : LAST}`);
      fetchMore();
    }
  });
  review.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) {
      fetchMore();
      return;
    }
    const item = event.target.closest("li");
    delete item.dataset.verdict;
    count(1);
    const why = complaint(event.detail.xhr.responseText, event.detail.xhr.status);
    item.querySelector(".judged").textContent = `Not kept: ${why}`;
    show(items().indexOf(item));
    announce(`Not kept: ${why}`);
  });

  /* A key that is for the next one does not change the verdict on the last one while the next is on its way. */
  const judge = (verdict) => {
    if (review.dataset.more && !items().some(open)) return;
    here().querySelector(`[value=${verdict}]`)?.click();
  };

  const KEYS = {
    a: () => judge("accepted"),
    d: () => judge("dismissed"),
    c: () => {
      const field = here().querySelector("input[name=label]");
      field?.focus();
      field?.select();
    },
    j: () => show(index + 1),
    k: () => show(index - 1),
  };
  Object.assign(KEYS, { ArrowRight: KEYS.j, ArrowDown: KEYS.j, ArrowLeft: KEYS.k, ArrowUp: KEYS.k });

  const keys = document.getElementById("keys");
  keys?.addEventListener("change", () => localStorage.setItem("keys", keys.checked ? "on" : "off"));
  if (keys) keys.checked = localStorage.getItem("keys") !== "off";

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.matches(".review input")) here().focus();
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    if (keys && !keys.checked) return;
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  show(0, false);
}

/* ---- uploads: dropped anywhere on the frame, each with its answer ---- */

const upload = document.getElementById("upload");
if (upload) {
  const drop = upload.querySelector(".drop");
  const answers = document.getElementById("answers");
  const field = upload.querySelector("[type=file]");

  const MAX_BYTES = 50 * 1024 * 1024; /* more would not be read to its end, and so have no answer */

  const send = async (file) => {
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("h3"), { textContent: file.name }));
    item.append(Object.assign(document.createElement("progress"), { ariaLabel: `Classifying ${file.name}` }));
    answers.prepend(item);
    const form = new FormData();
    form.append("csrf_token", upload.csrf_token.value);
    form.append("photo", file);
    const fail = (why) => {
      item.querySelector("progress")?.remove();
      item.append(Object.assign(document.createElement("p"), { className: "bad", textContent: why }));
      announce(`${file.name}: ${why}`);
    };
    if (file.size > MAX_BYTES) return fail("The file is larger than 50 MB. Save it smaller.");
    try {
      const answer = await fetch(upload.action, { method: "POST", body: form, headers: { "HX-Request": "true" } });
      const text = await answer.text();
      if (!answer.ok) return fail(complaint(text, answer.status));
      const page = new DOMParser().parseFromString(text, "text/html");
      const shown = document.adoptNode(page.querySelector("li"));
      item.replaceWith(shown);
      announce(shown.dataset.announce);
    } catch {
      fail(complaint("", 0));
    }
  };
  const sendAll = async (files) => {
    document.querySelector("#answers-title")?.classList.remove("unseen");
    for (const file of files) await send(file);
  };

  upload.addEventListener("submit", (event) => {
    event.preventDefault();
    sendAll([...field.files]).then(() => upload.reset());
  });
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => sendAll([...event.dataTransfer.files]));
}

unfold();
