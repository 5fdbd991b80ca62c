/** A path, with or without a query, as it stands in an HTTP request: ASCII without spaces and control characters. */
const PATH = /^\/[\x21-\x7E]*$/

/** The site of a path: any, as it is compared with itself. */
const SITE = 'http://site.invalid'

/**
 * Returns a path of this site as browsers read it, with its query and fragment in their members. `null` for what could
 * lead to another site, in this form or in the one that browsers or servers make of it: `//evil.example`,
 * `/\evil.example`, `/.//evil.example`.
 * @see WHATWG URL Standard 4.4, the states "relative" and "relative slash"
 */
export function sitePath (text: string): URL | null {
  if (!PATH.test(text) || !URL.canParse(text, SITE)) return null
  const url = new URL(text, SITE)
  return url.origin === SITE && !url.pathname.startsWith('//') ? url : null
}

/** Adds members to the query of a path or URL, in place of those that are there. */
export function withQuery (target: string, members: Record<string, string>): string {
  const [, page = '', query = '', fragment = ''] = /^([^?#]*)\??([^#]*)(#.*)?$/.exec(target) ?? []
  const others = query.split('&').filter((each) => each !== '' && !Object.hasOwn(members, each.split('=')[0] as string))
  return `${page}?${[...others, new URLSearchParams(members)].join('&')}${fragment}`
}

/** Whether a browser sends a cookie of the path `cookiePath` to `pathname` (RFC 6265 5.1.4). */
export function isBelow (cookiePath: string, pathname: string): boolean {
  return pathname === cookiePath || pathname.startsWith(cookiePath.endsWith('/') ? cookiePath : `${cookiePath}/`)
}
