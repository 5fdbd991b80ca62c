// One request to an application whose sessions are in an SQLite file: sql-app.ts <file> <method> <url> <cookie>
import { ConnectSessionKnexStore } from 'connect-session-knex'
import Fastify from 'fastify'
import knex from 'knex'
import { authRoutes, sessionPlugin } from '../../lib/index.ts'

const [filename = '', method = 'GET', url = '/', cookie = ''] = process.argv.slice(2)
const db = knex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
const store = new ConnectSessionKnexStore({ knex: db, cleanupInterval: 0 })
await store.ready
const app = Fastify()
await app.register(sessionPlugin, { secret: 'a-secret-of-the-tests-with-32-characters-or-more', store, cookie: { secure: false } })
await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
app.get('/restricted', { preHandler: app.authenticate }, async ({ auth }) => `only for ${auth?.userId}`)

const reply = await app.inject({
  method: method as 'GET' | 'POST',
  url,
  headers: cookie === '' ? {} : { cookie },
  ...url === '/login' && { payload: { username: 'ada', password: 'lovelace' } }
})
const [set] = reply.cookies
console.log(JSON.stringify({ statusCode: reply.statusCode, body: reply.body, cookie: set === undefined ? '' : `${set.name}=${set.value}` }))
await app.close()
await db.destroy()
