// Calculators of sizes and cost: the arithmetic of borealis.training.planner on the numbers of
// planner.json, which `python -m tools.planner_data` writes. A page has a table for the default
// choice in <div data-calculator="size"> or "cost"; it stays there if this script doesn't run.
(() => {
  const here = document.currentScript.src;
  let data = null;

  // ---- arithmetic: no page needed ----

  // Operations of a forward pass: linear layers grow with the length, attention with its square.
  function forward(part, positions) {
    return part.linear * positions + (part.attention ?? 0) * positions ** 2;
  }

  function operations(part, positions, state) {
    const [linear, attention] = data.passes[state];
    return part.linear * positions * linear + (part.attention ?? 0) * positions ** 2 * attention;
  }

  function pick(table, name, what) {
    if (!Object.hasOwn(table, name)) {
      throw new RangeError(`${what} is '${name}'; it must be one of ${Object.keys(table).join(", ")}.`);
    }
    return table[name];
  }

  function check(options) {
    for (const [name, standard] of Object.entries(data.defaults)) {
      const value = options[name];
      if (typeof standard === "string" || typeof standard === "boolean" || value === null) continue;
      if (!Number.isFinite(value) || value < 0 || (value === 0 && !data.may_be_zero.includes(name))) {
        throw new RangeError(`${name} is ${value}; it must be a number above 0.`);
      }
    }
    for (const name of ["utilization", "decoding_utilization"]) {
      if (options[name] > 1) throw new RangeError(`${name} is a share of the peak, at most 1.`);
    }
    const [shortest, longest] = data.clip_seconds;
    const seconds = options.clip_seconds;
    if (!Number.isInteger(seconds) || seconds < shortest || seconds > longest) {
      throw new RangeError(`clip_seconds is ${seconds}; here it is whole, from ${shortest} to ${longest}.`);
    }
  }

  // What `borealis.training.planner.plan(Options(**given)).to_dict()` gives, for whole seconds.
  function compute(given = {}) {
    if (data === null) throw new Error("planner.json isn't loaded yet; await borealisPlanner.ready.");
    for (const name of Object.keys(given)) pick(data.defaults, name, "option");
    const options = { ...data.defaults, ...given };
    check(options);
    const encoder = pick(data.encoders, options.encoder, "encoder");
    const model = pick(data.language_models, options.language_model, "language_model");
    const adapter = pick(data.adapters[options.encoder][options.language_model], options.adapter, "adapter");
    const [adapterState, modelState] = pick(data.train, options.train, "train");
    const gpu = pick(data.gpus, options.gpu, "gpu");
    const counts = pick(data.paddings, options.padding, "padding");
    if (options.train === "ctc" && options.adapter !== "ctc") {
      throw new RangeError(`train is 'ctc'; the adapter '${options.adapter}' has no CTC.`);
    }

    const seconds = options.clip_seconds;
    const at = seconds - data.clip_seconds[0];
    const audio = counts.audio_tokens[at];
    const halfMinute = counts.audio_tokens[30 - data.clip_seconds[0]];
    const rate = options.text_tokens_per_second ?? model.text_tokens_per_second;
    const text = rate * seconds + options.prompt_tokens;

    const heard = options.hours_of_audio * options.epochs;
    const encodedHours = options.feature_cache ? Math.min(options.hours_of_audio, heard) : heard;
    const clips = (heard * 3600) / seconds;
    const encoded = (encodedHours * 3600) / seconds;
    const lora = modelState === "lora" ? options.lora_rank * model.lora : 0;

    const perEncoder = forward(encoder, counts.encoder_frames[at]);
    const perAdapter = operations(adapter, audio, adapterState);
    const language = (tokens) => {
      if (modelState === "unused") return 0;
      const again = options.gradient_checkpointing ? forward(model, tokens) : 0;
      return operations(model, tokens, modelState) + again + 6 * lora * tokens;
    };
    const flops = {
      encoder: perEncoder * encoded,
      adapter: perAdapter * clips,
      language_model: language(audio + text) * clips,
    };
    flops.total = flops.encoder + flops.adapter + flops.language_model;
    const withAudio = (perEncoder * encoded) / clips + perAdapter + language(audio + text) - language(text);

    const learned = adapter.parameters + (modelState === "learns" ? model.parameters : lora);
    const total = encoder.parameters + adapter.parameters + model.parameters;
    const gpuHours = flops.total / (gpu.teraflops * 1e12 * options.utilization) / 3600;
    const memory = memoryOf(options, { adapter, model, learned, modelState, frozen: total + lora - learned, share: audio / (audio + text) });
    const cached = options.feature_cache ? options.hours_of_audio : 0;
    const price = options.price ?? gpu.price;
    const dollars = gpuHours * price;
    const features = cached * 3600 * (counts.kept_frames[at] / seconds) * encoder.width * data.feature_bytes;
    const one = hearing(model, perEncoder + forward(adapter, audio), audio + options.prompt_tokens, rate * seconds, options.adapter === "ctc");
    return {
      parameters: { encoder: encoder.parameters, adapter: adapter.parameters, language_model: model.parameters, total },
      tokens: { audio_per_30_seconds: halfMinute, audio_per_clip: audio, text_per_clip: text },
      weights: Object.fromEntries(Object.entries(data.bytes).map(([name, size]) => [name, size * total])),
      kv_cache: halfMinute * model.cache * data.bytes.bf16,
      feature_cache: features,
      stages: [{
        name: "train",
        train: options.train,
        learned_parameters: learned,
        audio_hours: heard,
        encoded_hours: encodedHours,
        text_tokens: 0,
        flops,
        flops_per_audio_second: withAudio / seconds,
        flops_per_text_token: text ? language(text) / text : 0,
        memory,
        gpu_hours: gpuHours,
        dollars,
      }],
      gpu_hours: gpuHours,
      hours: gpuHours / options.gpus,
      dollars,
      bill: billOf(options, { training: dollars, price, peak: gpu.teraflops * 1e12, heard: one, learned, total, features }),
      fits: memory.total <= gpu.gigabytes * 1e9,
    };
  }

  // Operations of writing one recording down: in one pass, and token by token.
  function hearing(model, sound, prompt, text, letters) {
    const [whole, given] = [forward(model, prompt + text), forward(model, prompt)];
    return letters ? [sound + whole, 0] : [sound + given, whole - given];
  }

  function billOf(options, { training, price, peak, heard: [read, written], learned, total, features }) {
    const validated = options.validations * options.validation_clips;
    const tested = (options.test_hours * 3600) / options.clip_seconds;
    const effective = read / options.utilization + written / options.decoding_utilization;
    // The other GPUs wait while one hears the validation recordings.
    const hours = (effective / peak / 3600) * (validated * options.gpus + tested);
    const stored = {
      recordings: (options.hours_of_audio * 3600 * options.bitrate * 1000) / 8,
      features,
      checkpoints: options.checkpoints_kept * learned * data.checkpoint_bytes,
      models: (1 + data.models_beside_stages) * data.model_bytes * total,
    };
    const bytes = Object.values(stored).reduce((sum, size) => sum + size, 0);
    const evaluation = hours * price;
    const storage = (bytes / 1e9) * options.storage_months * options.storage_price;
    const failed = training * options.failed;
    return {
      training,
      evaluation,
      storage,
      failed,
      total: training + evaluation + storage + failed,
      evaluation_gpu_hours: hours,
      validation_recordings: validated,
      test_recordings: tested,
      stored,
    };
  }

  function memoryOf(options, { adapter, model, learned, modelState, frozen, share }) {
    const used = modelState !== "unused";
    let kept = adapter.kept * (used ? share : 1);
    if (used) kept += options.gradient_checkpointing ? model.kept_recomputed : model.kept;
    const logits = used ? model.vocabulary : 0;
    const memory = {
      learned: data.learned_bytes * learned,
      frozen: data.frozen_bytes * frozen,
      kept: (data.kept_bytes * kept + data.logit_bytes * logits) * options.batch_tokens,
    };
    return { ...memory, total: memory.learned + memory.frozen + memory.kept };
  }

  // ---- numbers for people ----

  const language = document.documentElement.lang === "ru" ? "ru" : "en";
  const digits = {};

  function number(value, most = 3) {
    digits[most] ??= new Intl.NumberFormat(language, { maximumSignificantDigits: most });
    return digits[most].format(value);
  }

  function scaled(value, units) {
    const [size, unit] = units.find(([least]) => value >= least) ?? units.at(-1);
    return `${number(value / size)}\u00a0${unit}`;
  }

  function formats(words) {
    const { units } = words;
    return {
      count: (value) => scaled(value, [[1e9, units.billion], [1e6, units.million]]),
      bytes: (value) => scaled(value, [[1e12, units.e12], [1e9, units.e9], [1e6, units.e6]]),
      hours: (value) => `${number(value)}\u00a0${units.hours}`,
      money: (value) => (language === "ru" ? `${number(value)}\u00a0$` : `$${number(value)}`),
      yes: (value) => (value ? words.yes : words.no),
    };
  }

  // Label and value of each figure, the most important ones first in `main`.
  const figures = {
    size(plan, words) {
      const { count, bytes } = formats(words);
      const rows = ["encoder", "adapter", "language_model", "total"].map((name) => [name, count(plan.parameters[name])]);
      rows.push(["learned", count(plan.stages[0].learned_parameters)]);
      rows.push(["audio_tokens", number(plan.tokens.audio_per_30_seconds)]);
      for (const [name, size] of Object.entries(plan.weights)) rows.push([`weights_${name}`, bytes(size)]);
      rows.push(["kv_cache", bytes(plan.kv_cache)], ["memory", bytes(plan.stages[0].memory.total)]);
      return { rows, main: ["total", "memory"] };
    },
    cost(plan, words) {
      const { bytes, hours, money, yes } = formats(words);
      const [stage] = plan.stages;
      const shares = ["encoder", "adapter", "language_model"].map((part) => `${number((100 * stage.flops[part]) / stage.flops.total, 2)}\u00a0%`);
      const rows = [
        ...["total", "training", "evaluation", "storage", "failed"].map((name) => [`bill_${name}`, money(plan.bill[name])]),
        ["gpu_hours", hours(plan.gpu_hours)],
        ["hours", hours(plan.hours)],
        ["operations", `${number(stage.flops.total / 1e18)}\u00a0·\u00a010¹⁸`],
        ["shares", shares.join(" / ")],
        ["tokens", `${plan.tokens.audio_per_clip} + ${number(plan.tokens.text_per_clip)}`],
        ["memory", bytes(stage.memory.total)],
        ["fits", yes(plan.fits)],
        ["feature_cache", plan.feature_cache ? bytes(plan.feature_cache) : "–"],
        ["stored", bytes(Object.values(plan.bill.stored).reduce((sum, size) => sum + size, 0))],
      ];
      return { rows, main: ["bill_total", "gpu_hours"] };
    },
  };

  // ---- forms ----

  const MODEL = ["encoder", "language_model", "adapter", "train"];
  const GROUPS = {
    size: { model: MODEL },
    cost: {
      model: MODEL,
      data: ["hours_of_audio", "epochs", "clip_seconds", "padding", "feature_cache"],
      machine: ["gpu", "gpus", "utilization", "price"],
      bill: ["test_hours", "bitrate", "storage_price", "storage_months", "failed"],
    },
  };
  const LIMITS = {
    hours_of_audio: { min: 1, max: 1e7, step: "any" },
    epochs: { min: 0.1, max: 1000, step: "any" },
    gpus: { min: 1, max: 1024, step: 1 },
    utilization: { min: 1, max: 100, step: 1 },
    price: { min: 0, max: 1000, step: "any" },
    test_hours: { min: 0, max: 1e5, step: "any" },
    bitrate: { min: 0, max: 1e4, step: "any" },
    storage_price: { min: 0, max: 100, step: "any" },
    storage_months: { min: 0, max: 1000, step: "any" },
    failed: { min: 0, max: 1000, step: "any" },
  };
  // Readers see these in percent.
  const PERCENT = ["utilization", "failed"];

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // Names and titles of the choices of a select.
  function choices(name) {
    const names = data.names[language];
    const tables = {
      encoder: data.encoders,
      language_model: data.language_models,
      adapter: data.adapters[data.defaults.encoder][data.defaults.language_model],
      gpu: data.gpus,
    };
    if (name === "gpu") return Object.entries(data.gpus).map(([key, gpu]) => [key, gpu.title]);
    if (name in tables) return Object.keys(tables[name]).map((key) => [key, names.parts[key] ?? key]);
    return Object.entries(names[name]);
  }

  function control(name, id) {
    const standard = name === "price" ? data.gpus[data.defaults.gpu].price : data.defaults[name];
    if (typeof standard === "string") {
      const options = choices(name).map(([value, title]) => element("option", { value, textContent: title, defaultSelected: value === standard }));
      return element("select", { id, name }, ...options);
    }
    if (typeof standard === "boolean") return element("input", { id, name, type: "checkbox", defaultChecked: standard });
    const [min, max] = data.clip_seconds;
    const limits = name === "clip_seconds" ? { min, max, step: 1 } : LIMITS[name];
    const value = PERCENT.includes(name) ? 100 * standard : standard;
    return element("input", { id, name, type: "number", inputMode: "decimal", required: true, ...limits, defaultValue: String(value) });
  }

  function field(name, kind, words) {
    const id = `calculator-${kind}-${name}`;
    const input = control(name, id);
    const label = element("label", { htmlFor: id, textContent: words.labels[name] });
    const box = input.type === "checkbox";
    return element("div", { className: box ? "bo-calculator__check" : "bo-calculator__field" }, ...(box ? [input, label] : [label, input]));
  }

  function chosen(form) {
    const options = {};
    for (const input of form.elements) {
      if (!input.name) continue;
      if (input.type === "checkbox") options[input.name] = input.checked;
      else if (input.type === "number") options[input.name] = input.valueAsNumber;
      else options[input.name] = input.value;
    }
    for (const name of PERCENT) if (name in options) options[name] /= 100;
    return options;
  }

  function build(place) {
    const kind = place.dataset.calculator;
    const words = data.texts[language];
    const groups = Object.entries(GROUPS[kind]).map(([group, names]) => element(
      "fieldset", {},
      element("legend", { textContent: words[group] }),
      ...names.map((name) => field(name, kind, words)),
    ));
    const reset = element("button", { type: "reset", className: "bo-calculator__reset", textContent: words.reset });
    const form = element("form", { className: "bo-calculator__form" }, ...groups, reset);
    form.setAttribute("aria-label", words[kind]);
    const answer = element("p", { className: "bo-calculator__answer" });
    answer.setAttribute("role", "status");
    const body = element("tbody");
    const caption = element("caption", { textContent: words.result });
    const table = element("table", { className: "bo-calculator__table" }, caption, body);

    function update() {
      const valid = form.checkValidity();
      table.hidden = !valid;
      if (!valid) {
        answer.textContent = words.invalid;
        return;
      }
      const { rows, main } = figures[kind](compute(chosen(form)), words);
      body.replaceChildren(...rows.map(([name, value]) => element(
        "tr", {},
        element("th", { scope: "row", textContent: words.results[name] }),
        element("td", { textContent: value }),
      )));
      answer.textContent = rows.filter(([name]) => main.includes(name)).map(([name, value]) => `${words.results[name]}: ${value}`).join(". ") + ".";
    }

    form.addEventListener("input", (event) => {
      // A chosen GPU brings its own price; what the reader types after that stays.
      if (event.target.name === "gpu") form.elements.price.value = String(data.gpus[event.target.value].price);
      update();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    // The fields get their values back after the event.
    form.addEventListener("reset", () => setTimeout(update));
    place.classList.add("bo-calculator");
    place.replaceChildren(form, element("div", { className: "bo-calculator__result" }, answer, table));
    update();
  }

  async function load() {
    const answer = await fetch(new URL("../data/planner.json", here));
    if (!answer.ok) throw new Error(`planner.json: ${answer.status}`);
    data = await answer.json();
  }

  const places = document.querySelectorAll("[data-calculator]");
  if (places.length) {
    document.head.append(element("link", { rel: "stylesheet", href: String(new URL("../css/calculators.css", here)) }));
  }
  const ready = load();
  ready.then(() => places.forEach(build));
  window.borealisPlanner = { ready, compute, get defaults() { return data?.defaults; } };
})();
