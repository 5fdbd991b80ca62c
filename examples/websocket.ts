// A WebSocket that is open for as long as its session lives, whichever process ends that.
//
//   npm run build && npm ci --prefix examples && npx tsx examples/websocket.ts
//   curl -i -c jar localhost:3000/auth/login -H 'content-type: application/json' -d '{"username":"ada","password":"lovelace"}'
//   …and in a page of localhost:3000: new WebSocket('ws://localhost:3000/live')
import { randomBytes } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin, { authRoutes } from 'fastify-user-sessions'

/** Of the codes 4000 to 4999, which are the application's (RFC 6455 7.4.2), what comes closest to 401. */
const SESSION_ENDED = 4401

// Your database.
const users = new Map([
  ['ada', { id: 1, passwordHash: await hash('lovelace') }],
  ['bob', { id: 2, passwordHash: await hash('builder') }]
])
// An unknown name takes as long as a wrong password: it is compared with this.
const nobodysHash = await hash(randomBytes(16).toString('hex'))

interface Options {
  redis?: string | undefined
  secret?: string
  /** How often the messages of a socket extend its session at most. */
  touchEveryMs?: number
}

export async function buildApp ({ redis = process.env.REDIS_URL, secret = process.env.SESSION_SECRET, touchEveryMs = 60_000 }: Options = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn' } })

  // First, so that the connection of an upgrade that the session plugin refuses is closed as well.
  await app.register(websocket, { options: { maxPayload: 64 * 1024 } })

  // An upgrade is a request like others: its session is loaded, and one from a page of another site is answered 403.
  await app.register(sessionPlugin, {
    secret: secret ?? randomBytes(32).toString('base64'),
    redis,
    cookie: { secure: process.env.NODE_ENV === 'production' }
  })

  await app.register(authRoutes, {
    prefix: '/auth',
    verify: async ({ username, password }) => {
      const user = users.get(username)
      return await verify(user?.passwordHash ?? nobodysHash, password) && user !== undefined ? user : null
    }
  })

  // Whoever is not signed in gets 401 in place of the upgrade.
  app.get('/live', { websocket: true, onRequest: app.authenticate }, (socket, request) => {
    const { id, userId, signal } = request.requireAuth()
    const end = () => socket.close(SESSION_ENDED, 'the session has ended')
    signal.addEventListener('abort', end, { once: true })
    socket.once('close', () => signal.removeEventListener('abort', end))
    if (signal.aborted) end()

    // An open socket is no use of the session, which ends after its idle timeout; messages are, because we say so.
    let touchedAt = Date.now()
    socket.on('message', (message) => {
      // Until the client has answered our close, its messages still arrive.
      if (signal.aborted) return
      if (Date.now() - touchedAt >= touchEveryMs) {
        touchedAt = Date.now()
        // Without Redis it is not extended; the socket stays.
        app.sessions.touch(id).catch((error: unknown) => request.log.warn(error))
      }
      socket.send(`${userId}: ${String(message)}`)
    })
    socket.send(`hello ${userId}`)
  })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`WebSocket at ${url.replace('http', 'ws')}/live`)
}
