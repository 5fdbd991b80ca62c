import { readFileSync } from 'node:fs'
import t from 'tap'
import { errors } from '../../lib/errors.ts'
import { messageOf } from '../helpers/docs.ts'
import { anchorsOf } from '../helpers/pages.ts'
import { root } from '../helpers/process.ts'

const PAGE = 'docs/reference/errors.md'
const page = readFileSync(`${root}${PAGE}`, 'utf8')

/** The sections of a page by heading. */
function sectionsOf (text: string): Map<string, string> {
  return new Map(text.split(/^## /m).slice(1).map((section) => {
    const [heading = '', ...lines] = section.split('\n')
    return [heading, lines.join('\n').trim()]
  }))
}

/** Says what a section about an error lacks. */
function faultsOf (section: string, first: string): string[] {
  const [said, meaning = '', causes, causeList = '', advice, adviceList = '', ...more] = section.split('\n\n')
  const faults = {
    'its first line is status and message': said === first,
    'then it says what the code means': /^[`A-Z].{20}/.test(meaning),
    'then the likeliest causes': causes === 'Likeliest causes:' && isList(causeList),
    'then what to do': advice === 'What to do:' && isList(adviceList),
    'and no more': more.length === 0
  }
  return Object.entries(faults).flatMap(([fault, isRight]) => isRight ? [] : [fault])
}

function isList (text: string): boolean {
  return text.split('\n').every((line) => /^- .{10}/.test(line))
}

const codes = Object.values(errors).map((SessionError) => {
  const { code, statusCode, help } = new SessionError()
  return { code, help, first: `${statusCode}: ${messageOf(SessionError)}` }
})

t.test('every code has a section: what it means, the likeliest causes, what to do', async (t) => {
  const sections = sectionsOf(page)
  t.ok(codes.length > 15)
  for (const { code, first } of codes) t.strictSame(faultsOf(sections.get(code) ?? '', first), [], code)
  const named = [...sections.keys()].filter((heading) => heading.startsWith('ERR_'))
  t.strictSame(named, codes.map(({ code }) => code), 'and no other, in the order of the table')
})

t.test('the help of every error is its section', async (t) => {
  const anchors = anchorsOf(page)
  for (const { code, help } of codes) {
    const [path, anchor = ''] = help.split('#')
    t.equal(path, `fastify-user-sessions/${PAGE}`, code)
    t.ok(anchors.has(anchor), `${code}: #${anchor}`)
    t.equal(anchor, code.toLowerCase())
  }
})

t.test('a section that lacks something is found', async (t) => {
  const parts = ['401: No', 'Nobody is signed in here.', 'Likeliest causes:', '- One that is likely.', 'What to do:', '- Sign in, and go on.']
  t.strictSame(faultsOf(parts.join('\n\n'), '401: No'), [])
  t.equal(faultsOf('', '401: No').length, 4)
  for (const index of parts.keys()) t.not(faultsOf(parts.with(index, 'x').join('\n\n'), '401: No').length, 0)
  t.not(faultsOf([...parts, 'More.'].join('\n\n'), '401: No').length, 0)
})
