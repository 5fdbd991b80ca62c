/** The application's data of one session, as its own object. */
export type Data = Record<string, unknown>

/** Changes that one request made, by top-level key. Values are JSON text. `undefined`: deleted. */
export type Changes = ReadonlyMap<string, string | undefined>

/**
 * Returns the changes that turn `before` into `after`. Throws what `JSON.stringify` throws (a BigInt).
 * @throws TypeError for data nested more than 100 levels deep, or without end
 */
export function diff (before: Data, after: Data): Changes {
  assertShallow(after)
  const changes = new Map<string, string | undefined>()
  for (const key of Object.keys(before)) {
    if (text(after, key) === undefined) changes.set(key, undefined)
  }
  for (const key of Object.keys(after)) {
    const value = text(after, key)
    if (value !== undefined && value !== text(before, key)) changes.set(key, value)
  }
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

/** Returns a copy of data. Throws what `JSON.stringify` throws. */
export function copyOf (data: Data): Data {
  return JSON.parse(JSON.stringify(data)) as Data
}

/** Returns these keys of the data. `null`: all. */
export function picked (data: Data, keys: readonly string[] | null): Data {
  return keys === null ? data : Object.fromEntries(Object.entries(data).filter(([key]) => keys.includes(key)))
}

/** Checks how deep data is nested. @throws TypeError for more than 100 levels */
export function assertShallow (data: Data): void {
  if (!isDeeper(data, MAX_DEPTH)) return
  throw new TypeError(`session data must not be nested more than ${MAX_DEPTH} levels deep`)
}

/** Whether a value is nested more than `levels` levels deep. */
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
