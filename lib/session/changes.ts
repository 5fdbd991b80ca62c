/** The application's data of one session, as its own object. */
export type Data = Record<string, unknown>

/** Changes that one request made, by top-level key. Values are JSON text. `undefined`: deleted. */
export type Changes = ReadonlyMap<string, string | undefined>

/**
 * Returns the changes that turn `before` into `after`. Throws what `JSON.stringify` throws (a BigInt).
 * @throws TypeError for data nested more than 100 levels deep, or without end
 */
export function diff (before: Data, after: Data): Changes {
  const present = new Map<string, string>()
  for (const key of Object.keys(after)) {
    const value = jsonOf(after[key], MAX_DEPTH - 1)
    if (value !== undefined) present.set(key, value)
  }
  const changes = new Map<string, string | undefined>()
  for (const key of Object.keys(before)) if (!present.has(key)) changes.set(key, undefined)
  for (const [key, value] of present) if (value !== text(before, key)) changes.set(key, value)
  return changes
}

/** Returns data with the changes made. Other keys stay as they are: the last writer of a key wins. */
export function apply (data: Data, changes: Changes): Data {
  const next: Data = { ...data }
  for (const [key, value] of changes) {
    if (value === undefined) delete next[key]
    else next[key] = JSON.parse(value)
  }
  return next
}

/** Deepest nesting of data. Code that recurses over it must not run out of stack. */
export const MAX_DEPTH = 100

const TOO_DEEP = `session data must not be nested more than ${MAX_DEPTH} levels deep`

/**
 * Returns data, or a value of it, as it is stored. What is stored counts, and not the object: a document of a database
 * holds more than its JSON says, and a `toJSON` may say more than its object holds.
 * @throws TypeError for more than `levels` levels, or without end; what `JSON.stringify` throws besides
 */
export function jsonOf (value: Data, levels?: number): string
export function jsonOf (value: unknown, levels?: number): string | undefined
export function jsonOf (value: unknown, levels = MAX_DEPTH): string | undefined {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (error) {
    throw isEndless(error) ? new TypeError(TOO_DEEP, { cause: error }) : error
  }
  // A level takes two characters.
  if (text !== undefined && text.length > 2 * levels && isDeepText(text, levels)) throw new TypeError(TOO_DEEP)
  return text
}

/** Whether `JSON.stringify` has failed with an object that is in itself, or too deep for the stack. */
function isEndless (error: unknown): boolean {
  return error instanceof RangeError || (error instanceof TypeError && /circular|cyclic/i.test(error.message))
}

/** Whether JSON is nested more than `levels` levels deep. */
function isDeepText (json: string, levels: number): boolean {
  let depth = 0
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at)
    if (code === QUOTE) at = endOfString(json, at)
    else if (code === BRACKET || code === BRACE) depth++
    else if (code === BRACKET + 2 || code === BRACE + 2) depth--
    if (depth > levels) return true
  }
  return false
}

const [QUOTE, BACKSLASH, BRACKET, BRACE] = [0x22, 0x5c, 0x5b, 0x7b]

/** Returns where the string ends that begins at `start`. */
function endOfString (json: string, start: number): number {
  let end = start
  let escapes: number
  do {
    end = json.indexOf('"', end + 1)
    escapes = 0
    while (json.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++
  } while (escapes % 2 === 1)
  return end
}

/** Returns a copy of data, as it is stored. Throws as `jsonOf` does. */
export function copyOf (data: Data): Data {
  return JSON.parse(jsonOf(data)) as Data
}

/** Returns these keys of the data. `null`: all. */
export function picked (data: Data, keys: readonly string[] | null): Data {
  return keys === null ? data : Object.fromEntries(Object.entries(data).filter(([key]) => keys.includes(key)))
}

/** Checks how deep data is nested that comes from JSON. @throws TypeError for more than 100 levels */
export function assertShallow (data: Data): void {
  if (isDeeper(data, MAX_DEPTH)) throw new TypeError(TOO_DEEP)
}

/** Whether a value that comes from JSON is nested more than `levels` levels deep. */
export function isDeeper (value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1))
}

/** Parses stored data. Returns `null` if it is none. */
export function parseData (text: string): Data | null {
  try {
    const data = JSON.parse(text) as Data
    // Shorter ones cannot be too deep.
    return text.length > 2 * MAX_DEPTH && isDeeper(data, MAX_DEPTH) ? null : data
  } catch {
    return null
  }
}

/** Whether data is not worth a session. Some plugins always write `{}` and `[]`. */
export function isEmpty (data: Data): boolean {
  return Object.keys(data).every((key) => /^(null|\{\}|\[\])?$/.test(text(data, key) ?? ''))
}

function text (data: Data, key: string): string | undefined {
  return Object.hasOwn(data, key) ? JSON.stringify(data[key]) : undefined
}
