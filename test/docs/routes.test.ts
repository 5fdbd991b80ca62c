import t from 'tap'
import { errors } from '../../lib/errors.ts'
import { publishedRoutes } from '../helpers/published-routes.ts'

const { auth, sessions } = await publishedRoutes()
const routes = [...auth, ...sessions]

const statuses = new Map<string, string>(Object.values(errors).map((SessionError) => {
  const { code, statusCode } = new SessionError()
  return [code, String(statusCode)]
}))

/** Returns the error codes that a text names. */
function codesIn (text: string): string[] {
  return text.match(/ERR_SESSION_[A-Z_]+/g) ?? []
}

t.test('the description of each reply names error codes of its status', async (t) => {
  t.ok(routes.length > 6)
  const replies = routes.flatMap(({ method, path, replies }) => replies.map((reply) => ({ at: `${method} ${path} ${reply.status}`, ...reply })))
  const named = replies.flatMap(({ at, status, description }) => codesIn(description).map((code) => ({ at, code, isRight: statuses.get(code) === status })))
  t.strictSame(named.filter(({ isRight }) => !isRight), [])
  const silent = replies.filter(({ status, description }) => Number(status) >= 401 && codesIn(description).length === 0)
  t.strictSame(silent.map(({ at }) => at), [], 'each error of ours is named')
})
