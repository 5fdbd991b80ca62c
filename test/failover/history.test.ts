import t from 'tap'
import { History, sessionsOf } from '../helpers/history.ts'
import type { Findings } from '../helpers/history.ts'

/** From and to when something was asked. */
const at = (began: number, answered = began + 1) => ({ began, answered })
const NOTHING: Findings = { resurrected: [], lost: [], unended: [] }

/** Ada is signed in at 1. */
function history (more: (history: History) => void): Findings {
  const history = new History()
  history.login('a', 'ada', at(0))
  more(history)
  return history.check()
}

const right: Record<string, (history: History) => void> = {
  'a session is found until it ends, and not afterwards': (h) => {
    h.read('a', true, at(2))
    h.end('a', true, at(4))
    h.read('a', false, at(6))
  },
  'a read that began before the end was confirmed may go either way': (h) => {
    h.end('a', true, at(4, 8))
    h.read('a', true, at(5, 12))
    h.read('a', false, at(6))
  },
  'a read that began before the end did may miss the session': (h) => {
    h.read('a', false, at(3, 9))
    h.end('a', true, at(5, 7))
  },
  'a read that was not answered says nothing': (h) => {
    h.read('a', null, at(2))
    h.end('a', true, at(4))
    h.read('a', null, at(6))
  },
  'an end that was not confirmed may have happened, or not, or happens later': (h) => {
    h.end('a', false, at(4))
    h.read('a', true, at(6))
    h.read('a', false, at(8))
    h.read('a', false, at(10), { final: true })
  },
  'a read that began before the login was confirmed may miss it': (h) => {
    h.login('b', 'ada', at(2, 6))
    h.read('b', false, at(3))
  },
  'a user who is signed out everywhere is, and signs in again': (h) => {
    h.endOfUser('ada', true, at(4, 6))
    h.read('a', false, at(7))
    h.login('b', 'ada', at(7))
    h.read('b', true, at(9))
  },
  'a login while its user is signed out everywhere may go either way': (h) => {
    h.login('b', 'ada', at(3, 5))
    h.endOfUser('ada', true, at(4, 8))
    h.read('b', true, at(9))
    h.login('c', 'ada', at(5, 6))
    h.read('c', false, at(9))
  },
  'a user may be signed out everywhere long after that was asked for and not confirmed': (h) => {
    h.endOfUser('ada', false, at(4))
    h.login('b', 'ada', at(7))
    h.read('b', true, at(9))
    h.read('b', false, at(10))
    h.read('a', true, at(11), { final: true })
  },
  'others stay signed in': (h) => {
    h.login('b', 'bob', at(2))
    h.endOfUser('ada', true, at(4))
    h.end('a', true, at(4))
    h.read('b', true, at(9))
  }
}

const wrong: Record<string, [name: keyof Findings, (history: History) => void]> = {
  'a session that is found after its end was confirmed': ['resurrected', (h) => {
    h.end('a', true, at(4))
    h.read('a', true, at(6))
  }],
  'also if it was not found in between': ['resurrected', (h) => {
    h.end('a', true, at(4))
    h.read('a', false, at(6))
    h.read('a', true, at(8))
  }],
  'also if it was asked for twice, and only the first was confirmed': ['resurrected', (h) => {
    h.end('a', true, at(4))
    h.end('a', false, at(5))
    h.read('a', true, at(6))
  }],
  'a session that is found after its user was signed out everywhere': ['resurrected', (h) => {
    h.endOfUser('ada', true, at(4))
    h.read('a', true, at(6))
  }],
  'a session that is not found though nobody ended it': ['lost', (h) => { h.read('a', false, at(2)) }],
  'a session that is not found before anybody began to end it': ['lost', (h) => {
    h.read('a', false, at(2))
    h.end('a', true, at(4))
  }],
  'a session that is not found after another was ended': ['lost', (h) => {
    h.login('b', 'bob', at(1))
    h.end('b', true, at(4))
    h.read('a', false, at(6))
  }],
  'a session that is not found though its user was signed out everywhere before it began': ['lost', (h) => {
    h.endOfUser('ada', true, at(4))
    h.login('b', 'ada', at(7))
    h.read('b', false, at(9))
  }],
  'a session that is there when everything is well again, though somebody asked to end it': ['unended', (h) => {
    h.end('a', false, at(4))
    h.read('a', true, at(50), { final: true })
  }]
}

for (const [sentence, write] of Object.entries(right)) {
  t.test(`nothing is wrong: ${sentence}`, async (t) => { t.strictSame(history(write), NOTHING) })
}

for (const [sentence, [name, write]] of Object.entries(wrong)) {
  t.test(`wrong: ${sentence}`, async (t) => {
    const findings = history(write)
    t.equal(sessionsOf(findings[name]), 1)
    t.strictSame({ ...findings, [name]: [] }, NOTHING, 'and nothing else')
  })
}

t.test('where copies may be old, a session that is found for no longer than that after its end is not wrong', async (t) => {
  const found = new History()
  found.login('a', 'ada', at(1))
  found.end('a', true, at(4))
  found.read('a', true, at(9))
  const staleMs = found.stalestMs
  t.equal(staleMs, at(9).began - at(4).answered)
  t.strictSame(found.check({ staleMs: staleMs + 1 }), NOTHING)
  t.equal(found.check({ staleMs }).resurrected.length, 1)
})
