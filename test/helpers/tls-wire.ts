import { once } from 'node:events'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { createServer } from 'node:tls'
import type { Test } from 'tap'

/** TLS in front of a Redis that speaks none. */
export interface TlsWire {
  port: number
  /** Everything that came through. */
  commands: string
  /** How many connections began with something else than TLS. */
  plain: number
  cut: () => Promise<void>
  mend: () => Promise<void>
}

/** A wire that speaks TLS with this certificate, cut when the test ends. */
export async function startTlsWire (t: Test, redis: { port: number }, { key, cert }: { key: string, cert: string }): Promise<TlsWire> {
  const sockets = new Set<Socket>()
  const server = createServer({ key, cert }, (near) => {
    const far = connect(redis.port, '127.0.0.1')
    near.on('data', (chunk) => { wire.commands += String(chunk) })
    for (const [from, to] of [[near, far], [far, near]] as const) {
      sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
  })
  server.on('tlsClientError', (error: Error & { code?: string }) => { if (error.code === 'ERR_SSL_WRONG_VERSION_NUMBER' || error.code === 'ERR_SSL_HTTP_REQUEST') wire.plain++ })
  const wire: TlsWire = {
    port: 0,
    commands: '',
    plain: 0,
    async mend () {
      server.listen(wire.port, '127.0.0.1')
      await once(server, 'listening')
      wire.port = (server.address() as AddressInfo).port
    },
    async cut () {
      for (const socket of sockets) socket.destroy()
      if (!server.listening) return
      server.close()
      await once(server, 'close')
    }
  }
  await wire.mend()
  t.teardown(wire.cut)
  return wire
}
