import t from 'tap'
import { looksSignedIn, userIdText } from '../../lib/session/user-id.ts'
import { startApp } from '../helpers/app.ts'
import { throwing } from '../helpers/hostile.ts'

t.test('a user\'s id is compared as text', async (t) => {
  for (const [id, text] of [['ada', 'ada'], ['0', '0'], [' ', ' '], [0, '0'], [-1.5, '-1.5'], [1e21, '1e+21'], [0n, '0'], [2n ** 64n, '18446744073709551616'], ['é☕'.repeat(100), 'é☕'.repeat(100)], ['x'.repeat(255), 'x'.repeat(255)]] as const) {
    t.equal(userIdText(id, 'user.id'), text)
  }
})

t.test('whatever else is refused by name, without repeating it', async (t) => {
  for (const id of ['', '\ud800', 'bob\udfff', 'x'.repeat(256), 10n ** 255n, NaN, Infinity, -Infinity, true, false, null, undefined, Symbol('ada'), {}, [], ['ada'], () => 'ada', new Map(), Promise.resolve('ada'), Object.create(null), { toString: 'ada' }, throwing('toString')]) {
    t.throws(() => userIdText(id, 'user.id'), { name: 'TypeError', message: 'user.id must be a string of 1 to 255 characters, a number or a bigint' })
  }
})

/** As the driver of MongoDB has it. */
class ObjectId {
  toHexString (): string { return '65f1c0ffee65f1c0ffee65f1' }
  toString (): string { return this.toHexString() }
}

const ADVICE = 'must be a string of 1 to 255 characters, a number or a bigint; pass String(id) where an id is of another kind'

t.test('of an object with a string form of its own it is said what to pass', async (t) => {
  for (const id of [new ObjectId(), new String('ada'), { toString: () => 'ada' }, new URL('https://ada.example')]) { // eslint-disable-line no-new-wrappers
    t.throws(() => userIdText(id, 'user.id'), { name: 'TypeError', message: `user.id ${ADVICE}` })
  }
})

t.test('an ObjectId signs in nobody, and every place that takes a user says why', async (t) => {
  const app = await startApp(t)
  const id = new ObjectId() as unknown as string
  const { sessions } = app
  await t.rejects(sessions.create({ userId: id }), { name: 'TypeError', message: `userId ${ADVICE}` })
  await t.rejects(sessions.listByUser(id), { name: 'TypeError', message: `userId ${ADVICE}` })
  await t.rejects(sessions.revokeUser(id), { name: 'TypeError', message: `userId ${ADVICE}` })
  await t.rejects(sessions.revoke('x', { userId: id }), { name: 'TypeError', message: `userId ${ADVICE}` })
  app.post('/login', async (request) => await app.login(request, { id }))
  app.post('/assign', async (request) => { request.session.userId = id })
  const replies = []
  for (const url of ['/login', '/assign']) replies.push(await app.inject({ method: 'POST', url }))
  t.strictSame(replies.map((reply) => [reply.statusCode, reply.json().message, reply.headers['set-cookie']]), [[500, `user.id ${ADVICE}`, undefined], [500, `userId ${ADVICE}`, undefined]])
  t.ok(await sessions.create({ userId: String(id) }))
})

t.test('data that signs somebody in with other libraries is told from data of visitors', async (t) => {
  const user = { id: 1 }
  for (const data of [
    { user: 'ada' }, { user }, { passport: { user: 1 } }, { authenticated: true }, { isLoggedIn: true }, { logged: true }, { uid: 7 }, { userName: 'ada' }, { username: 'ada' }, { user_id: 1 },
    { userdata: user }, { authUser: user }, { loggedUser: user }, { currentUser: 'ada' }, { student: user }, { admin: user }, { admin: true }, { adminId: 1 }, { account_id: 'a' }, { cart: [], memberId: 2 }
  ]) t.equal(looksSignedIn(data), Object.keys(data).at(-1), JSON.stringify(data))
  for (const data of [
    {}, { cart: { id: 1 } }, { userAgent: 'x' }, { userId: null }, { student: undefined, admin: null }, { admin: false }, { email: 'ada@example.com' }, { returnTo: '/user' }, { users: 5 }, { uid: '' }, { authenticated: false }, { accounting: 1 }, { customer: { name: 'Ada', email: 'ada@example.com' } }
  ]) t.equal(looksSignedIn(data), undefined, JSON.stringify(data))
})
