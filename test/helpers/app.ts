import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions, InjectOptions } from 'fastify'
import { sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { withEverything } from './everything.ts'
import { assertNoLeaks, learnOptions, sightOf } from './leak-hunt.ts'
import type { Owner } from './redis.ts'

export const secret = 'a-secret-of-the-tests-with-32-characters-or-more'

// What the applications of the tests keep in their sessions.
declare module 'fastify' {
  interface Session {
    userId?: string | number | bigint | null
    cart?: unknown
    visits?: unknown
    // Not `unknown`: beside @fastify/passport's types, `cookie` is found here alone.
    [key: string]: any
  }
}

export type TestResponse = Awaited<ReturnType<FastifyInstance['inject']>> & { setCookies: string[] }

/** One log line of an application under test. */
export interface LogLine { level: number, msg: string, [key: string]: unknown }

/**
 * An application with the plugin, over plain http, closed when the test ends, which fails where a token, its hash or a
 * secret of the options was seen outside of the session cookie. `lines` grows with what it logs.
 */
export async function startApp (t: Owner, options: Partial<SessionOptions> = {}, server: FastifyServerOptions = {}): Promise<FastifyInstance & { lines: LogLine[] }> {
  const lines: LogLine[] = []
  const stream = {
    write: (text: string) => {
      const line = JSON.parse(text) as LogLine
      lines.push(line)
      sightOf(app).see(() => `the log line "${line.msg}"`, withoutUrl(text, line))
    }
  }
  learnOptions({ secret, ...options })
  const app = Fastify({ logger: { level: 'trace', stream }, ...server } as FastifyServerOptions) as unknown as FastifyInstance
  t.teardown(() => assertNoLeaks(app))
  t.teardown(async () => { await app.close() })
  await app.register(sessionPlugin, withEverything({ secret, cookie: { secure: false }, ...options }))
  return Object.assign(app, { lines })
}

/** Fastify's own line says which URL was asked for, and a client may put its token there, where nobody asks for it. */
function withoutUrl (text: string, { msg, req }: LogLine): string {
  return msg === 'incoming request' ? JSON.stringify({ req: { ...req as object, url: '' } }) : text
}

/** A person's browser: keeps cookies as a browser does (per name and path; Max-Age=0 takes one back). */
export class Browser {
  readonly cookies = new Map<string, string>()
  readonly #app: FastifyInstance

  constructor (app: FastifyInstance) {
    this.#app = app
  }

  async request (method: InjectOptions['method'], url: string, options: Omit<InjectOptions, 'method' | 'url'> = {}): Promise<TestResponse> {
    const response = await this.#app.inject({
      method,
      url,
      ...options,
      headers: { ...this.cookies.size > 0 && { cookie: this.header }, ...options.headers }
    } as InjectOptions)
    const setCookies = [response.headers['set-cookie'] ?? []].flat()
    for (const line of setCookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/; max-age=0(;|$)/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return Object.assign(response, { setCookies })
  }

  get header (): string {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  async get (url: string, options?: Omit<InjectOptions, 'method' | 'url'>): Promise<TestResponse> {
    return await this.request('GET', url, options)
  }

  async post (url: string, payload?: InjectOptions['payload'], options: Omit<InjectOptions, 'method' | 'url'> = {}): Promise<TestResponse> {
    return await this.request('POST', url, { ...payload !== undefined && { payload }, ...options })
  }
}
