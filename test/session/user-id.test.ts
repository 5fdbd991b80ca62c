import t from 'tap'
import { userIdText } from '../../lib/session/user-id.ts'

t.test('a user\'s id is compared as text', async (t) => {
  for (const [id, text] of [['ada', 'ada'], ['0', '0'], [' ', ' '], [0, '0'], [-1.5, '-1.5'], [1e21, '1e+21'], [0n, '0'], [2n ** 64n, '18446744073709551616'], ['é☕'.repeat(100), 'é☕'.repeat(100)], ['x'.repeat(255), 'x'.repeat(255)]] as const) {
    t.equal(userIdText(id, 'user.id'), text)
  }
})

t.test('whatever else is refused by name, without repeating it', async (t) => {
  for (const id of ['', '\ud800', 'bob\udfff', 'x'.repeat(256), 10n ** 255n, NaN, Infinity, -Infinity, true, false, null, undefined, Symbol('ada'), {}, [], ['ada'], () => 'ada', new String('ada'), { toString: () => 'ada' }]) { // eslint-disable-line no-new-wrappers
    t.throws(() => userIdText(id, 'user.id'), { name: 'TypeError', message: 'user.id must be a string of 1 to 255 characters, a number or a bigint' })
  }
})
