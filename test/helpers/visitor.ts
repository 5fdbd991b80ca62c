import { once } from 'node:events'
import { request as send } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import type { FastifyInstance } from 'fastify'

/** What a visitor got: the whole reply. */
export interface Answer { status: number, body: string, cookies: string[], headers: Headers }

interface Asked { method: string, headers: Record<string, string>, body: URLSearchParams | undefined }

/** A person's browser over a real socket, where `inject` would hide what happens to a reply that has gone out. */
export class Visitor {
  readonly cookies = new Map<string, string>()
  readonly url: string

  constructor (url: string) {
    this.url = url
  }

  /** A browser with the cookies that this one has now. */
  copy (): Visitor {
    const copy = new Visitor(this.url)
    for (const [name, value] of this.cookies) copy.cookies.set(name, value)
    return copy
  }

  async request (method: string, path: string, headers: Record<string, string> = {}, body?: URLSearchParams): Promise<Answer> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await this.ask(new URL(path, this.url), { method, body, headers: { ...cookie !== '' && { cookie }, ...headers } })
    const cookies = response.headers.getSetCookie()
    for (const line of cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/; max-age=0(;|$)/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return { status: response.status, body: await response.text(), cookies, headers: response.headers }
  }

  protected async ask (url: URL, { method, headers, body }: Asked): Promise<Response> {
    return await fetch(url, { method, headers, redirect: 'manual', ...body !== undefined && { body } })
  }

  async get (path: string, headers?: Record<string, string>): Promise<Answer> {
    return await this.request('GET', path, headers)
  }

  async post (path: string, headers?: Record<string, string>): Promise<Answer> {
    return await this.request('POST', path, headers)
  }

  /** Submits a form. */
  async form (path: string, fields: Record<string, string>, headers?: Record<string, string>): Promise<Answer> {
    return await this.request('POST', path, headers, new URLSearchParams(fields))
  }
}

/** A person who looks at pages. `fetch` says of each request that a script makes it. */
export class Reader extends Visitor {
  protected override async ask (url: URL, { method, headers, body }: Asked): Promise<Response> {
    const type = body !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }
    const request = send(url, { method, headers: { ...type, ...headers } })
    request.end(body?.toString())
    const [answer] = await once(request, 'response') as [IncomingMessage]
    const { statusCode = 0, rawHeaders } = answer
    const pairs = Array.from({ length: rawHeaders.length / 2 }, (_, index) => rawHeaders.slice(2 * index, 2 * index + 2) as [string, string])
    const content = await text(answer)
    return new Response([204, 304].includes(statusCode) ? null : content, { status: statusCode, headers: pairs })
  }
}

/** Listens on a port of its own; the application's own teardown closes it. */
export async function listen (app: FastifyInstance): Promise<string> {
  return await app.listen({ port: 0, host: '127.0.0.1' })
}
