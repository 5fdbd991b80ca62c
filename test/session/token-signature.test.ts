import { createHmac } from 'node:crypto'
import t from 'tap'
import { Signature } from '../../lib/session/token.ts'

t.test('what is signed verifies, and needs no encoding in a cookie', async (t) => {
  const signature = new Signature(['first'])
  for (const value of ['x', 'a.b.c', 'a'.repeat(500)]) {
    const signed = signature.sign(value)
    t.equal(signed, `${value}.${createHmac('sha256', 'first').update(value).digest('base64url')}`)
    t.match(signed, /^[\w.-]+$/)
    t.same(signature.verify(signed), { value, renew: false })
  }
})

t.test('what an older secret signed verifies and is to be signed anew', async (t) => {
  const signed = new Signature(['old']).sign('value')
  t.same(new Signature(['new', 'older', 'old']).verify(signed), { value: 'value', renew: true })
  t.equal(new Signature(['new', 'older']).verify(signed), null)
  t.equal(new Signature(['new', 'old']).sign('value'), new Signature(['new']).sign('value'))
})

t.test('what was changed anywhere does not verify', async (t) => {
  const signature = new Signature(['first'])
  const signed = signature.sign('value')
  for (let at = 0; at < signed.length; at++) {
    const other = signed[at] === 'A' ? 'B' : 'A'
    t.equal(signature.verify(signed.slice(0, at) + other + signed.slice(at + 1)), null, `character ${at}`)
    t.equal(signature.verify(signed.slice(0, at) + signed.slice(at + 1)), null, `without character ${at}`)
  }
  for (const wrong of ['', '.', 'value', `${signed}=`, `${signed} `, ` ${signed}`, signed.slice(5), `.${signed.slice(6)}`, `value.${'é'.repeat(43)}`, `value.${'é'.repeat(21)}x`]) t.equal(signature.verify(wrong), null, wrong)
})

t.test('a seal is the signature alone, of a value that is not sent', async (t) => {
  const signature = new Signature(['first', 'second'])
  const seal = signature.seal('value')
  t.equal(signature.sign('value'), `value.${seal}`)
  t.equal(signature.isSeal(seal, 'value'), true)
  t.equal(new Signature(['new', 'first']).isSeal(seal, 'value'), true, 'also by an older secret')
  t.equal(new Signature(['new']).isSeal(seal, 'value'), false)
  for (const wrong of ['', '.', `${seal}=`, seal.slice(1), ` ${seal}`, seal.toLowerCase(), 'é'.repeat(43), `value.${seal}`]) t.equal(signature.isSeal(wrong, 'value'), false, wrong)
  for (const value of ['', 'valu', 'value.', ' value', 'Value']) t.equal(signature.isSeal(seal, value), false, value)
})
