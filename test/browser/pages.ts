import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import type { Certificate } from '../helpers/certificate.ts'
import type { Owner } from '../helpers/redis.ts'

/** Somebody else's web server. */
export interface Pages {
  /** Its origin under this host. */
  origin: (host: string) => string
  /** Puts a page there, and gives its address under this host. */
  add: (host: string, html: string, headers?: Record<string, string | string[]>) => string
}

export async function startPages (t: Owner, { tls }: { tls?: Certificate }): Promise<Pages> {
  const pages: Array<{ html: string, headers: Record<string, string | string[]> }> = []
  const server = tls === undefined ? createServer() : createTlsServer(tls)
  server.on('request', (request, response) => {
    const found = pages[Number(request.url?.slice(1))]
    response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'text/html', ...found?.headers })
    response.end(found?.html)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  const { port } = server.address() as AddressInfo
  const origin = (host: string) => `${tls === undefined ? 'http' : 'https'}://${host}:${port}`
  return {
    origin,
    add: (host, html, headers = {}) => `${origin(host)}/${pages.push({ html: `<!doctype html>${html}`, headers }) - 1}`
  }
}

/** A page that submits a form as soon as it is looked at. */
export function trap (action: string, fields: Record<string, string> = {}): string {
  const inputs = Object.entries(fields).map(([name, value]) => `<input name="${name}" value="${value}">`).join('')
  return `<form method="post" action="${action}">${inputs}</form><script>document.forms[0].submit()</script>`
}
