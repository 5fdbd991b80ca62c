/** Most methods of one sign-in. */
const MOST_METHODS = 10
/** The name of a method, as those of RFC 8176 are: printable, without a space, which stands between stored ones. */
const METHOD = /^[\x21-\x7e]{1,32}$/

/**
 * Returns the names of methods by which a user has proved, or has to prove, who they are: each once.
 * @throws TypeError for what is no array of at most ten such names
 */
export function methodNames (methods: unknown): string[] {
  // Read once: what is checked is what is stored, also of a proxy.
  const length: unknown = Array.isArray(methods) ? methods.length : NaN
  const isShort = typeof length === 'number' && length <= MOST_METHODS
  const names = isShort ? Array.from({ length }, (_, index) => (methods as unknown[])[index]) : [null]
  if (names.every((name) => typeof name === 'string' && METHOD.test(name))) return [...new Set(names as string[])]
  throw new TypeError(`methods must be an array of at most ${MOST_METHODS} names, each of 1 to 32 characters of ASCII` +
    ' without a space')
}

/** Returns the methods of a sign-in as a record holds them. Throws as `methodNames` does. */
export function methodsText (methods: readonly string[] | undefined): string | null {
  if (methods === undefined) return null
  const names = methodNames(methods)
  return names.length === 0 ? null : names.join(' ')
}
