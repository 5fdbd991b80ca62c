import { readFileSync } from 'node:fs'
import t from 'tap'
import { REFUSALS } from '../../lib/session/refusals.ts'
import { root } from '../helpers/process.ts'

const PAGE = 'docs/troubleshooting.md'

t.test('the page about 401 lists every reason, in the order of the code, and an example that the code logs', async (t) => {
  const [, section = ''] = readFileSync(`${root}${PAGE}`, 'utf8').split('\n## Why a request gets 401\n')
  const [text = ''] = section.split('\n## ')
  const rows = [...text.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, reason]) => reason)
  t.strictSame(rows, Object.keys(REFUSALS))
  const [, example = '{}'] = /```json\n(.*)\n/.exec(text) ?? []
  const { reason, msg } = JSON.parse(example) as { reason: keyof typeof REFUSALS, msg: string }
  t.equal(msg, REFUSALS[reason])
})
