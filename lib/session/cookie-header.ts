/**
 * Every value that a `Cookie` header gives for `name`, undecoded: session cookies need no decoding, and
 * a second cookie of the same name (planted from a sibling host or another path) has to be noticed.
 */
export function cookieValues (header: string, name: string): string[] {
  const values: string[] = []
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    if (equals === -1 || pair.slice(0, equals).trim() !== name) continue
    values.push(pair.slice(equals + 1).trim())
  }
  return values
}
