import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Service, ServiceRequest } from './crashing-service.ts'
import { root } from './process.ts'

/** A process that does what it is told, to be killed in the middle of it. Like the tests, it waits for a busy machine. */
export class Victim {
  /** The status codes of its answers, by the request's number. */
  readonly answers = new Map<number, number>()
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>

  constructor () {
    this.#child = fork(join(root, 'test/helpers/crashing.ts'), { cwd: root, execArgv: ['--import=tsx', '--import=./test/helpers/patience.ts'], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#ended = once(this.#child, 'exit')
    this.#child.on('message', (message) => { if (Array.isArray(message)) this.answers.set(message[0], message[1]) })
  }

  /** Starts applications, and waits until they are. */
  async open (services: Service[]): Promise<void> {
    this.#child.send({ services })
    const [message] = await Promise.race([once(this.#child, 'message'), this.#ended.then(() => ['ended'])])
    if (message !== 'opened') throw new Error('the process that was to be killed did not start')
  }

  /** One request of each application, all at once. */
  ask (requests: ServiceRequest[]): void {
    this.#child.send({ requests })
  }

  /** Gives the signal that ended it. */
  async kill (): Promise<NodeJS.Signals | null> {
    this.#child.kill('SIGKILL')
    await this.#ended
    return this.#child.signalCode
  }
}

/** Gives one process after the other; the next is being started meanwhile. All are killed when the test ends. */
export function herd (t: Test): () => Victim {
  const all: Victim[] = []
  t.teardown(async () => { await Promise.all(all.map((each) => each.kill())) })
  const start = (): Victim => {
    const victim = new Victim()
    all.push(victim)
    return victim
  }
  let next = start()
  return () => {
    const victim = next
    next = start()
    return victim
  }
}
