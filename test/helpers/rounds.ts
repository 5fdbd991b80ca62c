import type { Redis } from 'ioredis'

/** Part of the driver that sends commands one by one, also those of a pipeline. Its types keep the command private. */
interface Sender {
  sendCommand: (command: { name: string, promise: Promise<unknown> }, ...rest: unknown[]) => unknown
}

/** Commands that no sign-in waits for: events, what takes a session off a list in the background, watching Redis. */
const UNAWAITED = ['publish', 'zrem', 'ping', 'info', 'time']

/**
 * Counts how often a process waits for Redis: a command that is sent after an answer has come is of the next round. All
 * that is sent before that is of one.
 */
export class Rounds {
  #sent: string[][] = []
  #answered = 0

  constructor (client: Redis) {
    // The driver declares no `name` of the commands that it sends.
    const sender = client as unknown as Sender
    const { sendCommand } = sender
    sender.sendCommand = (command, ...rest) => {
      if (!UNAWAITED.includes(command.name)) this.#note(command)
      return sendCommand.call(client, command, ...rest)
    }
  }

  /** The commands that are sent while something is done, by rounds. */
  async during (work: () => Promise<unknown>): Promise<string[][]> {
    const sent: string[][] = this.#sent = []
    this.#answered = 0
    await work()
    return sent
  }

  #note ({ name, promise }: { name: string, promise: Promise<unknown> }): void {
    const [sent, round] = [this.#sent, this.#answered]
    ;(sent[round] ??= []).push(name)
    const isOver = (): void => { if (sent === this.#sent) this.#answered = Math.max(this.#answered, round + 1) }
    promise.then(isOver, isOver)
  }
}
