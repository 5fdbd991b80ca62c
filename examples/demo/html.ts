// Templates that escape what is put into them.

/** Text that is HTML. */
export class Html {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }
}

type Value = string | number | Html | Html[] | false | null | undefined

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** Makes HTML of a template. What is put in is text, unless it is HTML itself; nothing comes of `false` and `null`. */
export function html (strings: TemplateStringsArray, ...values: Value[]): Html {
  return new Html(strings.reduce((before, after, index) => before + textOf(values[index - 1]) + after))
}

function textOf (value: Value): string {
  if (value === false || value === null || value === undefined) return ''
  if (value instanceof Html) return value.text
  if (Array.isArray(value)) return value.map(textOf).join('')
  return String(value).replace(/[&<>"']/g, (character) => ENTITIES[character] as string)
}
