import t from 'tap'
import { pages, sentencesOf, wordsOf } from '../helpers/pages.ts'

/** How many words the README may have, as `wc -w` counts them: its programs, tables and links too. */
const MAX_README_WORDS = 1_800
/** How many words a sentence may have, and how many those of a page may have on average. */
const MAX_SENTENCE_WORDS = 30
const MAX_MEAN_WORDS = 14

const all = pages()

t.test('the README is read in ten minutes', async (t) => {
  const readme = all.find(({ path }) => path === 'README.md')
  if (readme === undefined) return t.pass('not asked for')
  const words = readme.text.split(/\s+/).filter((word) => word !== '').length
  t.ok(words <= MAX_README_WORDS, `${words} words`)
})

t.test('sentences are short', async (t) => {
  const faults = all.flatMap(({ path, text }) => {
    const sentences = sentencesOf(text)
    const mean = sentences.reduce((sum, sentence) => sum + wordsOf(sentence), 0) / sentences.length
    const long = sentences.filter((sentence) => wordsOf(sentence) > MAX_SENTENCE_WORDS).map((sentence) => `${path}: ${wordsOf(sentence)} words: ${sentence}`)
    return mean < MAX_MEAN_WORDS ? long : [...long, `${path}: ${mean.toFixed(1)} words a sentence`]
  })
  t.strictSame(faults, [])
})

t.test('sentences are counted as a reader would', async (t) => {
  const text = [
    '# A title. Of two sentences.', '', 'One `a. b` word. See [the page](https://example.com/a.b)? Yes:', '', '- an item', '- another one',
    '', '| a | table. |', '', '```ts', 'code. More code.', '```', '', '**Bold.** 1.5 MB, e.g.'
  ].join('\n')
  t.strictSame(sentencesOf(text).map(wordsOf), [3, 3, 1, 2, 2, 1, 3])
})
