import { inspect } from 'node:util'
import t from 'tap'
import { errors } from '../lib/errors.ts'
import { storeErrors } from '../lib/index.ts'
import { startApp } from './helpers/app.ts'

t.test('an error says where its documentation is, and shows that to nobody who did not ask', async (t) => {
  const error = new errors.UNAUTHENTICATED()
  t.equal(error.help, 'fastify-user-sessions/docs/reference/errors.md#err_session_unauthenticated')
  t.notOk(Object.keys(error).includes('help'))
  const seen: string[] = []
  for (const name in error) seen.push(name)
  t.notOk(seen.includes('help'), 'where loggers look')
  t.notMatch(JSON.stringify({ ...error }), 'errors.md')
  t.notMatch(inspect(error, { showHidden: true }), 'errors.md')
  t.strictSame(error.extensions, { code: 'ERR_SESSION_UNAUTHENTICATED' }, 'what GraphQL servers show')
})

t.test('an application may give an error a help of its own', async (t) => {
  const error = new errors.NOT_FOUND()
  Object.assign(error, { help: 'ask ada' })
  t.equal(error.help, 'ask ada')
  t.equal(new errors.NOT_FOUND().help, 'fastify-user-sessions/docs/reference/errors.md#err_session_not_found')
})

t.test('what a store throws says it as well', async (t) => {
  const { help } = new storeErrors.STORE_UNAVAILABLE({ cause: new Error('the backend') })
  t.equal(help, 'fastify-user-sessions/docs/reference/errors.md#err_session_store_unavailable')
})

t.test('that a store is out of reach is said in one line, and all else says where it was made', async (t) => {
  const cause = new Error('the backend')
  const error = new storeErrors.STORE_UNAVAILABLE({ cause })
  t.equal(error.stack, 'FastifyError [ERR_SESSION_STORE_UNAVAILABLE]: The session store is unavailable')
  t.match(cause.stack, '    at ', 'a store of one\'s own may have a bug')
  t.notOk(Object.keys(error).includes('stack'))
  for (const [name, Other] of Object.entries(errors)) if (name !== 'STORE_UNAVAILABLE') t.match(new Other().stack, '    at ', name)
})

t.test('a reply has what Fastify replies with, and no more', async (t) => {
  const app = await startApp(t)
  app.get('/me', { preHandler: app.authenticate }, async () => '')
  const response = await app.inject('/me')
  t.strictSame(response.json(), {
    statusCode: 401,
    code: 'ERR_SESSION_UNAUTHENTICATED',
    error: 'Unauthorized',
    message: 'Authentication required'
  })
  const logged = JSON.stringify(app.lines)
  t.match(logged, 'ERR_SESSION_UNAUTHENTICATED')
  t.notMatch(logged, 'errors.md')
})
