import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import { DeviceKey } from './device-key.ts'

/** What a browser keeps of a session that it has bound: as the server's instructions say it. */
interface Bound { id: string, refreshUrl: string, cookie: string, challenge: string | undefined }

/** Headers with which Chromium asks for a page that a person goes to. */
export const PAGE = { 'sec-fetch-mode': 'navigate', 'sec-fetch-site': 'none', 'sec-fetch-dest': 'document' }

/**
 * A browser that binds sessions to a key of its own, as Chromium does it, over https as a proxy tells of it. It renews
 * nothing by itself: `refresh` does. `bound` is what it keeps, `null` where it keeps nothing (any more).
 */
export class BoundBrowser {
  readonly cookies = new Map<string, string>()
  bound: Bound | null = null
  /** The last header by which it was asked to bind its session. */
  asked: string | undefined
  /** The application, or another process of it. */
  app: FastifyInstance
  #key = new DeviceKey()

  constructor (app: FastifyInstance) {
    this.app = app
  }

  /** The key of its last registration that was accepted, as a session's record has it. */
  get key (): string {
    return this.#key.line
  }

  /** A browser that somebody has copied the cookies to, and nothing else. */
  thief (): BoundBrowser {
    const thief = new BoundBrowser(this.app)
    for (const [name, value] of this.cookies) thief.cookies.set(name, value)
    return thief
  }

  async request (method: 'GET' | 'POST' | 'DELETE' | 'HEAD', url: string, { headers = {}, ...others }: InjectOptions = {}): Promise<LightMyRequestResponse> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await this.app.inject({ method, url, ...others, headers: { 'x-forwarded-proto': 'https', ...cookie !== '' && { cookie }, ...headers } })
    for (const line of [response.headers['set-cookie'] ?? []].flat()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/; max-age=0(;|$)/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    const asked = response.headers['secure-session-registration'] as string | undefined
    if (asked !== undefined) this.asked = asked
    return response
  }

  async get (url: string, headers: Record<string, string> = {}): Promise<LightMyRequestResponse> {
    return await this.request('GET', url, { headers })
  }

  async post (url: string, payload?: object, headers: Record<string, string> = {}): Promise<LightMyRequestResponse> {
    return await this.request('POST', url, { headers, ...payload !== undefined && { payload } })
  }

  /** Does what it was asked last: binds its session to its key. `newly`: to a new one. */
  async register ({ newly = true, headers = {} }: { newly?: boolean, headers?: Record<string, string> } = {}): Promise<LightMyRequestResponse> {
    const key = newly ? new DeviceKey() : this.#key
    const [, path = '', challenge = ''] = /path="([^"]*)";challenge="([^"]*)"/.exec(this.asked ?? '') ?? []
    const response = await this.request('POST', path, { headers: { 'secure-session-response': key.registration(challenge), ...headers } })
    if (response.statusCode === 200) {
      this.#key = key
      this.#learn(response)
    }
    return response
  }

  /** Renews its short cookie as Chromium does, which signs a new challenge when it is told to. */
  async refresh (): Promise<LightMyRequestResponse> {
    const first = await this.#refreshOnce()
    return first.statusCode === 403 && this.bound !== null ? await this.#refreshOnce() : first
  }

  async #refreshOnce (): Promise<LightMyRequestResponse> {
    const { bound } = this
    if (bound === null) throw new Error('it keeps no bound session')
    const response = await this.request('POST', bound.refreshUrl, {
      headers: {
        'sec-secure-session-id': bound.id,
        ...bound.challenge !== undefined && { 'secure-session-response': this.proof({ jti: bound.challenge }) }
      }
    })
    if (response.statusCode === 200) this.#learn(response)
    else if (response.statusCode === 403) bound.challenge = challengeOf(response)
    else if (response.statusCode < 500 && response.statusCode !== 429) this.bound = null
    return response
  }

  /** What it signs, with its key. */
  proof (payload: object, { jwk, typ = 'dbsc+jwt', alg = 'ES256' }: { jwk?: object, typ?: string, alg?: string } = {}): string {
    return this.#key.jwt({ typ, alg, ...jwk !== undefined && { jwk } }, payload)
  }

  /** Forgets its short cookie, as when that has run out. */
  loseShortCookie (): void {
    for (const name of this.cookies.keys()) if (name.endsWith('-bound')) this.cookies.delete(name)
  }

  #learn (response: LightMyRequestResponse): void {
    const { session_identifier: id, refresh_url: refreshUrl, credentials: [{ name: cookie }] } = response.json<{ session_identifier: string, refresh_url: string, credentials: [{ name: string }] }>()
    this.bound = { id, refreshUrl, cookie, challenge: challengeOf(response) }
  }
}

function challengeOf (response: LightMyRequestResponse): string | undefined {
  return /^"([^"]*)"/.exec(String(response.headers['secure-session-challenge'] ?? ''))?.[1]
}
