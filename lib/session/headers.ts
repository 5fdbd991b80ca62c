/**
 * Every value that a `Cookie` header gives for `name`, undecoded: session cookies need no decoding, and
 * a second cookie of the same name (planted from a sibling host or another path) has to be noticed.
 */
export function cookieValues (header: string, name: string): string[] {
  const values: string[] = []
  let equals = -1
  for (let start = 0, end = 0; start < header.length; start = end + 1) {
    end = header.indexOf(';', start)
    if (end === -1) end = header.length
    // Looked for once: a header of many pairs without one would be searched to its end for each of them.
    if (equals < start) equals = header.indexOf('=', start)
    if (equals === -1) break
    if (equals > end) continue
    const from = afterBlank(header, start, equals)
    if (beforeBlank(header, from, equals) - from !== name.length || !header.startsWith(name, from)) continue
    const valueFrom = afterBlank(header, equals + 1, end)
    values.push(header.slice(valueFrom, beforeBlank(header, valueFrom, end)))
  }
  return values
}

/** Where what is between `from` and `to` begins, and where it ends, without spaces and tabs around it. */
function afterBlank (text: string, from: number, to: number): number {
  while (from < to && isBlank(text.charCodeAt(from))) from++
  return from
}

function beforeBlank (text: string, from: number, to: number): number {
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--
  return to
}

/** RFC 6265bis 5.6: spaces and tabs around names and values do not count. Other white space does: a browser takes such a name for another. */
function isBlank (code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** What an `Authorization` header carries under the scheme Bearer (RFC 6750, any case), else `null`. */
export function bearerOf (authorization: string | undefined): string | null {
  return authorization === undefined ? null : /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? null
}

/** Whether a header is of the scheme Bearer, whatever it carries. */
export function isBearer (authorization: string | undefined): boolean {
  return authorization !== undefined && /^bearer(\s|$)/i.test(authorization)
}

/** One header of a request, of Node's object or of a `Headers` of `fetch`; what is no text is none. */
export function header (headers: object, name: 'cookie' | 'authorization'): string | undefined {
  const { get } = headers as Partial<Headers>
  // Not by `instanceof`: there are as many kinds of Headers as there are implementations of fetch.
  const value: unknown = typeof get === 'function' ? get.call(headers as Headers, name) : (headers as Record<string, unknown>)[name]
  return typeof value === 'string' ? value : undefined
}
