// A form made from the JSON Schema of a job type's parameters.

import { h, setText } from "./dom.js";

const MOST_AT_ONCE = 6; // fields; others are under "More settings", with those marked advanced

const ZOOMS = { "10×": 1, "20×": 0.5, "40×": 0.25, "60×": 0.1667, "100×": 0.1 };

/** Return what a property of a schema asks for, in one flat record. */
function reading(name, property) {
  const plain = property.anyOf?.find((one) => one.type !== "null") ?? {};
  const facts = { ...plain, ...property };
  return {
    ...facts,
    name,
    label: facts.title ?? name,
    unit: facts["x-unit"] ?? "",
    words: facts["x-enum-labels"],
    advanced: facts["x-group"] === "advanced",
    help: facts.description ?? "",
    initial: facts.default ?? null,
    numeric: facts.type === "number" || facts.type === "integer",
  };
}

/** Return a field's limits in words, or "". */
function limits({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  const lowest = exclusiveMinimum === undefined ? `${low} or more` : `more than ${low}`;
  if (low !== undefined && high !== undefined) {
    return exclusiveMinimum === undefined ? `${low} to ${high}` : `${lowest}, at most ${high}`;
  }
  if (low !== undefined) return lowest;
  return high === undefined ? "" : `at most ${high}`;
}

/** Return a sentence on what is wrong with a value, or "". */
function fault(field, text) {
  if (text === "") return "";
  if (field.numeric) {
    const value = Number(text.replace(",", "."));
    if (!Number.isFinite(value)) return `${field.label} should be a number.`;
    if (field.type === "integer" && !Number.isInteger(value)) {
      return `${field.label} should be a whole number.`;
    }
    const within =
      value >= (field.minimum ?? -Infinity) &&
      value <= (field.maximum ?? Infinity) &&
      value > (field.exclusiveMinimum ?? -Infinity) &&
      value < (field.exclusiveMaximum ?? Infinity);
    if (!within) return `${field.label} should be ${limits(field)}.`;
  } else if (field.pattern && !new RegExp(field.pattern, "u").test(text)) {
    return `${field.label} is not written as expected: ${field.help}`;
  }
  return "";
}

/** The form of one job type. */
export class SchemaForm {
  constructor(type, models) {
    this.fields = Object.entries(type.schema.properties ?? {}).map(([name, property]) =>
      this.#field(reading(name, property), models),
    );
    const first = this.fields.filter(({ advanced }) => !advanced).slice(0, MOST_AT_ONCE);
    const rest = this.fields.filter((field) => !first.includes(field));
    const more = h("details", { class: "more" }, h("summary", {}, "More settings"));
    more.append(h("div", { class: "fields" }, ...rest.map((field) => field.element)));
    const shown = h("div", { class: "fields" }, ...first.map((field) => field.element));
    this.element = h("div", { class: "schema-form" }, shown, rest.length ? more : null);
  }

  get(name) {
    return this.fields.find((field) => field.name === name);
  }

  /** Return what differs from the defaults, as the service takes it. */
  values() {
    const pairs = this.fields.map((field) => [field.name, field.value()]);
    return Object.fromEntries(pairs.filter(([, value]) => value !== null));
  }

  /** Say what is wrong next to each field; go to the first. Returns whether all is right. */
  check() {
    const wrong = this.fields.filter((field) => field.check());
    if (!wrong.length) return true;
    const details = wrong[0].element.closest("details");
    if (details) details.open = true;
    wrong[0].input.focus();
    return false;
  }

  /** Show the pixel size that the files say, and say where it is from. */
  prefill(mpp, note) {
    const field = this.get("mpp");
    if (!field || field.input.dataset.own) return;
    field.input.value = mpp === null ? "" : String(Number(mpp.toPrecision(6)));
    field.prefilled = field.input.value;
    setText(field.note, note);
  }

  #field(facts, models) {
    const id = `p-${facts.name}`;
    const input = control(facts, id, models);
    const told = [facts.help, facts.numeric && !facts.enum ? limits(facts) : ""].filter(Boolean);
    const help = h("p", { class: "help", id: `${id}-help` }, told.join(" · "));
    const note = h("p", { class: "note", id: `${id}-note` });
    const error = h("p", { class: "error", id: `${id}-error`, role: "alert" });
    input.setAttribute("aria-describedby", `${help.id} ${note.id}`);
    const field = { ...facts, input, note, prefilled: "" };
    field.check = () => {
      const sentence = input.type === "checkbox" ? "" : fault(facts, input.value.trim());
      setText(error, sentence);
      input.toggleAttribute("aria-invalid", Boolean(sentence));
      if (sentence) {
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-errormessage", error.id);
      }
      return sentence;
    };
    field.value = () => valueOf(field);
    input.addEventListener("change", field.check);
    input.addEventListener("input", () => {
      if (facts.name === "mpp") input.dataset.own = "yes";
      setText(note, "");
      if (error.textContent) field.check();
    });
    field.element = laid(field, id, [note, error, help]);
    return field;
  }
}

function control(facts, id, models) {
  const shared = { id, name: facts.name, class: "control" };
  const { initial } = facts;
  if (facts.type === "boolean" && initial !== null) {
    return h("input", { ...shared, type: "checkbox", checked: initial === true });
  }
  const choices = choicesOf(facts);
  if (choices) {
    const options = choices.map(([value, words]) =>
      h("option", { value, selected: String(initial ?? "") === value }, words),
    );
    return h("select", shared, ...options);
  }
  const props = { ...shared, type: "text", autocomplete: "off", spellcheck: "false" };
  if (facts.numeric) props.inputmode = facts.type === "integer" ? "numeric" : "decimal";
  if (initial !== null) props.value = String(initial);
  else props.placeholder = facts.name === "mpp" ? "not known" : "default";
  if (facts.name === "model_name" && models.length) props.list = "models";
  return h("input", props);
}

/** Return the values and words of a field to choose from; null where it is not one. */
function choicesOf(facts) {
  const unset = facts.initial === null ? [["", "Default"]] : [];
  if (facts.type === "boolean") return [...unset, ["true", "Yes"], ["false", "No"]];
  if (!facts.enum) return null;
  const word = (value) => value.charAt(0).toUpperCase() + value.slice(1).replaceAll("_", " ");
  const words = facts.words ?? facts.enum.map(String);
  return [...unset, ...facts.enum.map((value, index) => [String(value), word(words[index])])];
}

function valueOf({ input, initial, prefilled, numeric }) {
  if (input.type === "checkbox") return input.checked === initial ? null : String(input.checked);
  const text = numeric ? input.value.trim().replace(",", ".") : input.value.trim();
  if (text === "" || text === String(initial ?? "")) return null;
  return prefilled && text === prefilled && !input.dataset.own ? null : text;
}

function laid(field, id, below) {
  const { input, label, unit, name } = field;
  const words = h("label", { for: id }, label);
  if (input.type === "checkbox") {
    return h("div", { class: "field check" }, h("div", {}, input, words), ...below);
  }
  const row = h("div", { class: "control-row" }, input);
  if (unit) row.append(h("span", { class: "unit" }, unit));
  const parts = [words, row];
  if (name === "mpp") parts.push(zooms(input));
  return h("div", { class: `field field-${name}` }, ...parts, ...below);
}

/** Make buttons that set the pixel size by the objective. */
function zooms(input) {
  const set = (value) => {
    input.value = String(value);
    input.dispatchEvent(new Event("input"));
    input.dispatchEvent(new Event("change"));
  };
  const buttons = Object.entries(ZOOMS).map(([words, value]) =>
    h("button", { type: "button", class: "chip", onclick: () => set(value) }, words),
  );
  const label = "Usual pixel sizes by objective";
  return h("div", { class: "chips", role: "group", "aria-label": label }, ...buttons);
}
