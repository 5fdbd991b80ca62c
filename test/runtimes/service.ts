import Fastify from 'fastify'
import sessionPlugin from 'fastify-user-sessions'

declare module 'fastify' {
  interface Session { cart?: unknown }
}

/*
 * An application that uses what a runtime could do otherwise than Node.js: sockets to Redis, one of which hears of changes
 * (`nearCache`, events), `node:crypto` (signatures, encryption), and the head of a reply that Fastify does not send.
 */
const { REDIS_URL, SESSION_SECRET, ENCRYPTION_KEY = '', PORT } = process.env

const app = Fastify({ forceCloseConnections: true })
await app.register(sessionPlugin, {
  secret: SESSION_SECRET,
  redis: REDIS_URL,
  nearCache: true,
  encryption: { keys: [ENCRYPTION_KEY] },
  bearer: true,
  cookie: { secure: false }
})

app.get('/', async () => 'up')
app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
app.post('/logout', async (request, reply) => {
  await app.logout(request)
  return await reply.code(204).send()
})
app.post('/token', { preHandler: app.authenticate }, async (request) => {
  return await app.sessions.create({ userId: request.requireAuth().userId, kind: 'bearer' })
})
app.post<{ Params: { item: string } }>('/cart/:item', { preHandler: app.authenticate }, async (request) => {
  request.session.cart = [...request.session.cart as string[] | undefined ?? [], request.params.item]
  return request.session.cart
})
app.get('/me', { preHandler: app.authenticate }, async (request) => {
  return { userId: request.requireAuth().userId, cart: request.session.cart ?? [] }
})
app.get('/live', { preHandler: app.authenticate }, (request, reply) => {
  const { signal } = request.requireAuth()
  reply.hijack()
  reply.raw.write('listening')
  signal.addEventListener('abort', () => reply.raw.end(', ended'), { once: true })
})

process.once('SIGTERM', () => { void app.close() })
await app.listen({ host: '127.0.0.1', port: Number(PORT) })
