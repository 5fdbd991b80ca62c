import type { Writable } from 'node:stream'
import { PROGRESS_EVERY_MS } from '../util/timings.ts'

/**
 * Characters that a terminal could take for orders, or that make a line read differently from what it says: control and
 * format characters, separators of lines, halves of characters.
 */
const HOSTILE = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu

/** Returns a text as it may be printed: in place of each character that a terminal could obey stands its escape. */
export function clean (text: string): string {
  return text.replace(HOSTILE, (character) => {
    return [...Array(character.length).keys()].map((at) => escaped(character.charCodeAt(at))).join('')
  })
}

function escaped (unit: number): string {
  return `\\u${unit.toString(16).padStart(4, '0')}`
}

/** Where the program prints. */
export interface Streams {
  readonly stdout: Writable
  readonly stderr: Writable & { isTTY?: boolean | undefined }
}

/**
 * Prints answers to standard output, for people or as JSON, and notes to standard error. Whatever is printed is clean:
 * texts in it may come from anybody.
 */
export class Output {
  /** Whether programs read this. */
  readonly isJson: boolean
  readonly #streams: Streams
  #progressAt = -Infinity
  #hasProgress = false

  constructor (streams: Streams, { json }: { json: boolean }) {
    this.#streams = streams
    this.isJson = json
  }

  /** Prints one answer: as a line of JSON, or as lines for people. @throws when nobody reads it any more */
  async answer (value: object, lines: () => readonly string[]): Promise<void> {
    const text = this.isJson ? [clean(JSON.stringify(value))] : lines().map(clean)
    this.#clearProgress()
    await write(this.#streams.stdout, text.map((line) => `${line}\n`).join(''))
  }

  /** Prints a note for people to standard error. */
  async note (line: string): Promise<void> {
    this.#clearProgress()
    await write(this.#streams.stderr, `${clean(line)}\n`)
  }

  /** Shows how far long work is, where a person watches. Each line takes the place of the one before. */
  progress (line: () => string): void {
    const now = performance.now()
    if (this.#streams.stderr.isTTY !== true || now - this.#progressAt < PROGRESS_EVERY_MS) return
    this.#progressAt = now
    this.#hasProgress = true
    this.#streams.stderr.write(`\r\u001b[K${clean(line())}`)
  }

  #clearProgress (): void {
    if (this.#hasProgress) this.#streams.stderr.write('\r\u001b[K')
    this.#hasProgress = false
  }
}

/** Writes, and waits until it is written: what is slow to read is not kept in memory. */
async function write (stream: Writable, text: string): Promise<void> {
  if (text === '') return
  await new Promise<void>((resolve, reject) => {
    stream.write(text, (error) => { if (error == null) resolve(); else reject(error) })
  })
}
