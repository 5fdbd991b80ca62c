/** The application's data of one session, as its own object. */
export type Data = Record<string, unknown>

/** What one request changed, by top-level key; values are JSON text, `undefined` means deleted. */
export type Changes = ReadonlyMap<string, string | undefined>

/**
 * What turns `before` into `after`. Throws what `JSON.stringify` throws (a BigInt).
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

/** `data` with the changes made, the other keys as they are: the last writer of one key wins. */
export function apply (data: Data, changes: Changes): Data {
  const next: Data = { ...data }
  for (const [key, value] of changes) {
    if (value === undefined) delete next[key]
    else next[key] = JSON.parse(value)
  }
  return next
}

/** How deep data may be nested: what recurses over it, here and elsewhere, must not run out of stack. */
export const MAX_DEPTH = 100

/** Data by value. Throws what `JSON.stringify` throws. */
export function copyOf (data: Data): Data {
  return JSON.parse(JSON.stringify(data)) as Data
}

/** These keys of the data; `null`: all. */
export function picked (data: Data, keys: readonly string[] | null): Data {
  return keys === null ? data : Object.fromEntries(Object.entries(data).filter(([key]) => keys.includes(key)))
}

/** @throws TypeError for data nested more than 100 levels deep */
export function assertShallow (data: Data): void {
  if (isDeeper(data, MAX_DEPTH)) throw new TypeError(`session data must not be nested more than ${MAX_DEPTH} levels deep`)
}

/** Whether a value is nested more than `levels` levels deep. */
export function isDeeper (value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1))
}

/** The object that stored data is, or `null` when it is none. */
export function parseData (text: string): Data | null {
  try {
    const data = JSON.parse(text) as Data
    // Shorter ones cannot be too deep.
    return text.length > 2 * MAX_DEPTH && isDeeper(data, MAX_DEPTH) ? null : data
  } catch {
    return null
  }
}

/** Whether data is worth a session: `{}` and `[]`, which some plugins always write, are not. */
export function isEmpty (data: Data): boolean {
  return Object.keys(data).every((key) => /^(null|\{\}|\[\])?$/.test(text(data, key) ?? ''))
}

function text (data: Data, key: string): string | undefined {
  return Object.hasOwn(data, key) ? JSON.stringify(data[key]) : undefined
}
