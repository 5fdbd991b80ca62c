import type { Test } from 'tap'
import { CHAPTERS } from '../../lib/testing/chapters.ts'
import { checkSentence } from '../../lib/testing/contract.ts'
import type { TestedStore } from '../../lib/testing/index.ts'
import { marking } from '../helpers/everything.ts'
import { isAll } from '../helpers/scale.ts'

/** What takes long. Where each store of a combination runs all of it on its own, only `npm run test:all` runs it. */
const LONG: ReadonlySet<string> = new Set<keyof typeof CHAPTERS>(['limits', 'veryMany', 'races'])

/** Runs the suite that store authors run, for one of our stores: each sentence is a test of tap's. */
export function storeContract (
  t: Test, name: string, open: (t: Test) => Promise<TestedStore> | TestedStore, { isCombination = false } = {}
): void {
  for (const [chapter, { sentences }] of Object.entries(CHAPTERS)) {
    if (isCombination && !isAll && LONG.has(chapter)) continue
    for (const sentence of sentences) {
      t.test(`${name}: ${sentence.text}`, async (t) => {
        const lacks = await checkSentence(sentence, async () => chapter === 'ends' ? await open(t) : marked(await open(t)))
        if (lacks === null) t.pass(sentence.text)
        else t.plan(0, lacks)
      })
    }
  }
}

function marked (subject: TestedStore): TestedStore {
  return { ...subject, store: marking(subject.store), ...subject.other !== undefined && { other: marking(subject.other) } }
}
