import type { Claim } from './mutations.ts'

/** Whose a request is: a user's, nobody's, or `ambiguous` when a bearer token comes beside a cookie that is real. */
export type Verdict = string | null

/**
 * Says whose a request is by nothing but what was issued: who is let in must have sent, byte for byte, one of these.
 *
 * - A cookie (RFC 6265bis 5.6): the header is divided at every semicolon, a pair at its first equals sign; spaces and tabs
 *   around name and value do not count. The name is one of ours exactly. Of several of our names the first counts that
 *   carries what was issued; one that stands there twice counts for nobody, nor does an older one then.
 * - A bearer token (RFC 6750 2.1): the scheme in any case, one space or more, the token; spaces after it do not count.
 */
export class Issued {
  readonly #cookies: ReadonlyMap<string, string>
  readonly #tokens: ReadonlyMap<string, string>
  readonly #names: readonly string[]

  /** Values and whose they are. */
  constructor ({ cookies, tokens, names }: { cookies: ReadonlyMap<string, string>, tokens: ReadonlyMap<string, string>, names: readonly string[] }) {
    this.#cookies = cookies
    this.#tokens = tokens
    this.#names = names
  }

  verdict ({ cookie = '', authorization = '' }: Claim): Verdict {
    const byCookie = this.#ofCookie(cookie)
    const [scheme = ''] = authorization.split(/\s/, 1)
    if (scheme.toLowerCase() !== 'bearer') return byCookie
    return byCookie === null ? this.#ofToken(authorization.slice(scheme.length)) : 'ambiguous'
  }

  #ofCookie (header: string): string | null {
    const pairs = header.split(';').filter((pair) => pair.includes('=')).map((pair) => {
      const [name = '', ...value] = pair.split('=')
      return [without(name, ' \t'), without(value.join('='), ' \t')] as const
    })
    for (const ours of this.#names) {
      const [first, ...more] = pairs.filter(([name]) => name === ours)
      if (more.length > 0) return null
      const owner = first === undefined ? undefined : this.#cookies.get(first[1])
      if (owner !== undefined) return owner
    }
    return null
  }

  #ofToken (rest: string): string | null {
    return rest.startsWith(' ') ? this.#tokens.get(without(rest, ' ')) ?? null : null
  }
}

/** A text without these characters around it. */
function without (text: string, blanks: string): string {
  let [from, to] = [0, text.length]
  while (from < to && blanks.includes(text.charAt(from))) from++
  while (to > from && blanks.includes(text.charAt(to - 1))) to--
  return text.slice(from, to)
}
