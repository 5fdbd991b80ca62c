/** One header of a request, of Node's object or of a `Headers` of `fetch`; what is no text is none. */
export function header (headers: object, name: 'cookie' | 'authorization'): string | undefined {
  const { get } = headers as Partial<Headers>
  // Not by `instanceof`: there are as many kinds of Headers as there are implementations of fetch.
  const value: unknown = typeof get === 'function' ? get.call(headers as Headers, name) : (headers as Record<string, unknown>)[name]
  return typeof value === 'string' ? value : undefined
}
