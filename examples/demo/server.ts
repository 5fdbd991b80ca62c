// A small application to look at: npm run demo
// Sessions live in memory, or in Redis with REDIS_URL=redis://127.0.0.1:6379 npm run demo
// Over https with TLS_KEY=key.pem TLS_CERT=cert.pem npm run demo: then browsers that can bind sessions to their device.
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import sessionPlugin, { authRoutes } from 'fastify-user-sessions'
import { collectMetrics } from 'fastify-user-sessions/metrics'
import { register } from 'prom-client'
import { openBackend } from './backend.ts'
import { countCommands } from './cost.ts'
import { httpsServer } from './https.ts'
import { site } from './site.ts'
import { findUser, verifyPassword } from './users.ts'

const backend = openBackend(process.env.REDIS_URL)
const serverFactory = httpsServer(process.env.TLS_KEY, process.env.TLS_CERT)
const isHttps = serverFactory !== null
const app = Fastify({ logger: { level: 'warn' }, forceCloseConnections: true, ...isHttps && { serverFactory } })

// Before the session plugin, so that reading the session is counted as well.
app.addHook('onRequest', countCommands)

await app.register(formbody)
await app.register(sessionPlugin, {
  // Two demo servers on one Redis have to agree on it; in production it comes from the environment.
  secret: process.env.SESSION_SECRET ?? 'the-demo-has-no-secrets-whatsoever',
  ...backend.options,
  // The list of devices says to the minute when each was last used.
  touchAfter: '1m',
  // A cookie that is used after its sign-out is one line in the log.
  endedFor: '1h',
  securityLog: true,
  // Browsers bind sessions over https alone.
  deviceBound: isHttps,
  cookie: { secure: isHttps }
})

// For programs: JSON.
await app.register(authRoutes, {
  prefix: '/auth',
  verify: async ({ username, password }) => await verifyPassword(username, password)
})
app.get('/me', { preHandler: app.authenticate }, async (request) => {
  const { userId, createdAt, expiresAt } = request.requireAuth()
  const name = findUser(userId)?.name
  return { userId, name, signedInSince: new Date(createdAt), expiresAt: new Date(expiresAt) }
})

// For Prometheus.
collectMetrics(app.sessions)
app.get('/metrics', async (_request, reply) => {
  return await reply.type(register.contentType).send(await register.metrics())
})

// For people: pages.
await app.register(site, { backend })

app.addHook('onClose', async () => { await backend.close() })

const port = Number(process.env.PORT ?? 3000)
await app.listen({ host: '127.0.0.1', port })
// Certificates are for names: that of `mkcert localhost` is for this one.
const url = isHttps ? `https://localhost:${port}` : `http://127.0.0.1:${port}`
console.log(`
Open ${url} in a browser, and in a second one beside it. Sessions live in ${backend.name}.

Or sign in, ask who you are, and sign out here:

  curl -i -c jar -b jar ${url}/auth/login -H 'content-type: application/json' -d '{"username":"ada","password":"lovelace"}'
  curl -i -c jar -b jar ${url}/me
  curl -i -c jar -b jar -X POST ${url}/auth/logout
  curl -i -c jar -b jar ${url}/me
`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => { app.close().then(() => console.log('Stopped.'), console.error) })
}
