/** The application's data of one session, as its own object. */
export type Data = Record<string, unknown>

/** What one request changed, by top-level key; values are JSON text, `undefined` means deleted. */
export type Changes = ReadonlyMap<string, string | undefined>

/** What turns `before` into `after`. Throws what `JSON.stringify` throws (a BigInt, a cycle). */
export function diff (before: Data, after: Data): Changes {
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

/** Whether data is worth a session: `{}` and `[]`, which some plugins always write, are not. */
export function isEmpty (data: Data): boolean {
  return Object.keys(data).every((key) => /^(null|\{\}|\[\])?$/.test(text(data, key) ?? ''))
}

function text (data: Data, key: string): string | undefined {
  return Object.hasOwn(data, key) ? JSON.stringify(data[key]) : undefined
}
