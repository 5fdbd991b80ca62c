/** RFC 6265bis 5.6: spaces and tabs around names and values do not count. Other white space does: a browser takes such a name for another. */
const BLANK = /^[ \t]+|[ \t]+$/g

/**
 * Every value that a `Cookie` header gives for `name`, undecoded: session cookies need no decoding, and
 * a second cookie of the same name (planted from a sibling host or another path) has to be noticed.
 */
export function cookieValues (header: string, name: string): string[] {
  const values: string[] = []
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    if (equals === -1 || pair.slice(0, equals).replace(BLANK, '') !== name) continue
    values.push(pair.slice(equals + 1).replace(BLANK, ''))
  }
  return values
}
