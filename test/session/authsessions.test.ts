import t from 'tap'
import type { SessionInfo, SessionManager } from '../../lib/index.ts'
import { onBothStores } from '../helpers/managers.ts'
import { startRedis } from '../helpers/redis.ts'

// What the framework-agnostic `authsessions` package offers, each with its counterpart here.

const redis = await startRedis(t)
const both = onBothStores(t, redis)

/** A service that has sessions, and does not know where they are. */
class Service {
  readonly #sessions: SessionManager

  constructor (sessions: SessionManager) {
    this.#sessions = sessions
  }

  async signIn (userId: number): Promise<string> {
    return (await this.#sessions.create({ userId, kind: 'bearer' })).token
  }

  async whoIs (token: string): Promise<string | null> {
    return (await this.#sessions.find(token))?.userId ?? null
  }
}

both('sessions are interchangeable behind one interface', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const service = new Service(sessions)
  t.equal(await service.whoIs(await service.signIn(7)), '7')
  t.equal(await service.whoIs('nobody\'s'), null)
})

both('a session is created with a user, a label and meta', async (t, open) => {
  const { sessions } = await open()
  const { token, session } = await sessions.create({ kind: 'bearer', userId: 7, label: 'Ada\'s phone', meta: { app: '2.1' } })
  t.type(token, 'string')
  t.match(session, { userId: '7', label: 'Ada\'s phone', meta: { app: '2.1' } })
})

both('a token gives the user and the meta of its session', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const { token } = await sessions.create({ kind: 'bearer', userId: 'ada', meta: { app: '2.1' } })
  await sessions.create({ kind: 'bearer', userId: 'bob', meta: { app: '1.0' } })
  const found = await sessions.find(token)
  t.equal(found?.userId, 'ada')
  t.strictSame(found?.meta, { app: '2.1' })
})

both('one session is destroyed, and no other', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const phone = await sessions.create({ kind: 'bearer', userId: 'ada' })
  const laptop = await sessions.create({ kind: 'bearer', userId: 'ada' })
  t.equal(await sessions.revoke(phone.session.id), true)
  t.equal(await sessions.find(phone.token), null)
  t.match(await sessions.find(laptop.token), { userId: 'ada' })
})

both('a user\'s sessions are listed', async (t, open) => {
  const { sessions } = await open()
  for (const [userId, label] of [['ada', 'phone'], ['bob', 'tablet'], ['ada', 'laptop']] as const) await sessions.create({ userId, label })
  const labels = (await sessions.listByUser('ada')).map(({ label }) => label)
  t.strictSame(labels.sort(), ['laptop', 'phone'])
})

both('all sessions are listed', async (t, open) => {
  const { sessions } = await open()
  for (const userId of ['ada', 'bob', 'ada']) await sessions.create({ userId })
  const all: SessionInfo[] = []
  for await (const session of sessions.listAll()) all.push(session)
  t.strictSame(all.map(({ userId }) => userId).sort(), ['ada', 'ada', 'bob'])
})

both('a token goes into an Authorization header and comes out of it', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const { token, session, headers } = await sessions.create({ kind: 'bearer', userId: 'ada' })
  t.strictSame(headers, { authorization: `Bearer ${token}` })
  t.strictSame(await sessions.fromBearer(headers.authorization), session)
  t.strictSame(await sessions.fromRequest({ headers }), session)
})
