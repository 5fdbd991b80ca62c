import { text as textOf } from 'node:stream/consumers'
import { createInterface } from 'node:readline/promises'
import type { Surroundings } from './command.ts'
import { assertGoesOn, misuse } from './exit.ts'

/** More than any header: what is longer is not what was asked for. */
const LONGEST = 64 * 1024

/**
 * Reads standard input to its end. Of a person at a terminal it reads a line.
 * @throws Failure when the program is to end meanwhile, and for a text that is far too long
 */
export async function readInput (surroundings: Surroundings): Promise<string> {
  const { stdin, signal } = surroundings
  assertGoesOn(signal)
  const stop = (): void => { stdin.destroy() }
  signal.addEventListener('abort', stop, { once: true })
  try {
    return stdin.isTTY === true ? await readLine(surroundings) : await textOf(bounded(stdin))
  } catch (error) {
    assertGoesOn(signal)
    throw error
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

async function * bounded (stdin: Surroundings['stdin']): AsyncGenerator<Uint8Array> {
  let length = 0
  for await (const chunk of stdin as AsyncIterable<Uint8Array>) {
    length += chunk.length
    if (length > LONGEST) throw misuse(`standard input is longer than ${LONGEST / 1024} KB`)
    yield chunk
  }
}

/**
 * Reads a line of a person at a terminal.
 * @throws Failure when the program is to end meanwhile
 */
export async function readLine ({ stdin, stderr, signal }: Surroundings, question = ''): Promise<string> {
  const lines = createInterface({ input: stdin, output: stderr, terminal: false })
  const closed = new Promise<string>((resolve) => lines.once('close', () => resolve('')))
  try {
    // A terminal that is closed answers nothing.
    return await Promise.race([lines.question(question, { signal }), closed])
  } catch (error) {
    assertGoesOn(signal)
    throw error
  } finally {
    lines.close()
  }
}
