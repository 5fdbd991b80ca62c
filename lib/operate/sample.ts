import { misuse } from './exit.ts'

/** Headers of a request, or of a reply, that carry a session. */
export interface Sample {
  readonly cookie?: string
  readonly authorization?: string
}

const HEADER = /^[<>*\s]*(cookie|set-cookie|authorization):\s*(.*)$/i

/**
 * Reads what somebody has copied: a cookie's value, `name=value`, a bearer token, or headers, also as `curl -v` shows
 * them. `cookieName`: the name of a cookie that comes without one.
 * @throws Failure for nothing at all
 */
export function sampleOf (input: string, cookieName: string): Sample {
  const lines = input.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== '')
  if (lines.length === 0) {
    throw misuse('nothing came on standard input: give it the value of the cookie, a Cookie header, or a bearer token')
  }
  const headers = lines.map((line) => HEADER.exec(line)).filter((match) => match !== null)
  if (headers.length > 0) return ofHeaders(headers)
  // A terminal may have broken it into lines.
  const text = lines.join('').replace(/^(["'])(.*)\1$/, '$2')
  if (/^bearer\s/i.test(text)) return { authorization: text }
  if (text.startsWith('fus_')) return { authorization: `Bearer ${text}` }
  return { cookie: text.includes('=') ? text : `${cookieName}=${text}` }
}

function ofHeaders (headers: readonly RegExpExecArray[]): Sample {
  const cookies: string[] = []
  let authorization: string | undefined
  for (const [, name = '', value = ''] of headers) {
    if (/^authorization$/i.test(name)) authorization = value
    // Of a reply's cookie the attributes are no cookies.
    else cookies.push(/^set-/i.test(name) ? value.replace(/;.*$/, '') : value)
  }
  const cookie = cookies.length === 0 ? {} : { cookie: cookies.join('; ') }
  return authorization === undefined ? cookie : { ...cookie, authorization }
}
