import t from 'tap'
import { expiresAt, toInfo } from '../../lib/session/record.ts'
import { HOUR, MINUTE, record } from '../helpers/record.ts'

t.test('what an application sees of a session is everything but its secret and its data', async (t) => {
  const now = 1_700_000_000_000
  const session = record({ now, label: 'ada\'s phone', meta: '{"device":{"os":"x"},"tags":[{"a":1}]}', persistent: false, methods: 'pwd otp', actor: 'bob', idp: '["https://idp.example","here"]', ip: '::1', userAgent: 'Browser', data: '{"cart":1}' })
  const info = toInfo({ ...session, authenticatedAt: now + 1, lastSeenAt: now + 2 })
  t.strictSame(info, {
    id: session.id,
    userId: 'ada',
    kind: 'cookie',
    label: 'ada\'s phone',
    meta: { device: { os: 'x' }, tags: [{ a: 1 }] },
    createdAt: now,
    authenticatedAt: now + 1,
    lastSeenAt: now + 2,
    expiresAt: now + 2 + 30 * MINUTE,
    endsAt: session.endsAt,
    remembered: false,
    methods: ['pwd', 'otp'],
    actor: 'bob',
    idp: { issuer: 'https://idp.example', sid: 'here' },
    deviceBound: false,
    ip: '::1',
    userAgent: 'Browser'
  })
})

t.test('it is frozen to its depth', async (t) => {
  const info = toInfo(record({ methods: 'pwd otp', meta: '{"device":{"os":"x"},"tags":[{"a":1}]}' }))
  const meta = info?.meta as unknown as { device: { os: string }, tags: Array<{ a: number }> }
  for (const part of [info, info?.methods, meta, meta.device, meta.tags, meta.tags[0]]) t.ok(Object.isFrozen(part))
})

t.test('an anonymous session is nobody\'s', async (t) => {
  t.equal(toInfo(record({ userId: null })), null)
})

t.test('a session that does not say when its user signed in says when it began', async (t) => {
  const session = record({ authenticatedAt: null })
  t.equal(toInfo(session)?.authenticatedAt, session.createdAt)
})

t.test('a session ends at the earlier of its two timeouts', async (t) => {
  const now = 1_700_000_000_000
  t.equal(expiresAt(record({ now, idleTimeoutMs: HOUR, endsAt: now + 2 * HOUR })), now + HOUR)
  t.equal(expiresAt(record({ now, idleTimeoutMs: HOUR, endsAt: now + 10 })), now + 10)
  t.equal(expiresAt(record({ now, idleTimeoutMs: HOUR, endsAt: now + 2 * HOUR, lastSeenAt: now + 90 * MINUTE })), now + 2 * HOUR)
})
