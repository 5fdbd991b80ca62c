import t from 'tap'
import { Credentials, proven } from '../../lib/session/credentials.ts'
import type { Credential } from '../../lib/session/credentials.ts'
import { newId, newToken, SignedTokens } from '../../lib/session/token.ts'
import { record } from '../helpers/record.ts'

t.test('a credential proves the session of its secret, at first and ever after, and no other of its id', (t) => {
  const credentials = new Credentials({ tokens: new SignedTokens(['a secret of more than 32 characters']), cookieNames: ['sid'], bearer: true, readForeignCookie: null, cookieForms: ['fastify-user-sessions'] })
  const id = newId()
  const { token, secretHash } = newToken(id)
  const mine = record({ id, secretHash })
  const others = [record({ id, secretHash: newToken(id).secretHash }), record({ id, secretHash: '' }), record({ id, secretHash, kind: 'bearer' }), null]
  const read = (): Credential => credentials.readCookie(`sid=${credentials.sign(token)}`) as Credential
  for (const other of others) t.equal(proven(other, read()), null)
  t.equal(read().hasProven, false)
  for (let count = 0; count < 2; count++) {
    t.equal(proven(mine, read()), mine)
    t.equal(read().hasProven, true, 'it is remembered')
    for (const other of others) t.equal(proven(other, read()), null)
  }
  t.end()
})
