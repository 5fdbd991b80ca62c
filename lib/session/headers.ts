/**
 * Returns every value that a `Cookie` header has for a name. They are not decoded, as session cookies need no decoding.
 * A second cookie of the same name (planted from a sibling host or a different path) has to be noticed.
 */
export function cookieValues (header: string, name: string): string[] {
  const values: string[] = []
  let equals = -1
  for (let start = 0, end = 0; start < header.length; start = end + 1) {
    end = header.indexOf(';', start)
    if (end === -1) end = header.length
    // Searched once: in a header of many pairs without one, each pair would search it to its end.
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

/** Returns the place after the spaces and tabs at the beginning of a part. */
function afterBlank (text: string, from: number, to: number): number {
  while (from < to && isBlank(text.charCodeAt(from))) from++
  return from
}

/** Returns the place before the spaces and tabs at the end of a part. */
function beforeBlank (text: string, from: number, to: number): number {
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--
  return to
}

/**
 * Whether a character does not count around names and values: a space or a tab (RFC 6265bis 5.6). Other white space is
 * part of a name for browsers.
 */
function isBlank (code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** Returns the token of an `Authorization` header of the scheme Bearer (RFC 6750, in any case), else `null`. */
export function bearerOf (authorization: string | undefined): string | null {
  return authorization === undefined ? null : /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? null
}

/** Whether an `Authorization` header is of the scheme Bearer, whatever it carries. */
export function isBearer (authorization: string | undefined): boolean {
  return authorization !== undefined && /^bearer(\s|$)/i.test(authorization)
}

/** Returns one header of a request, from Node's object or from a `Headers` of `fetch`. `undefined` if it is no text. */
export function header (headers: object, name: string): string | undefined {
  const { get } = headers as Partial<Headers>
  // Not by `instanceof`: there are as many kinds of Headers as there are implementations of fetch.
  const isFetch = typeof get === 'function'
  const value = isFetch ? get.call(headers as Headers, name) : (headers as Record<string, unknown>)[name]
  return typeof value === 'string' ? value : undefined
}
