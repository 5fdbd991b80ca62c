/** Runs tasks of one name one after the other, in the order they came. Tasks of different names do not wait. */
export class TaskQueues {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Runs a task after those of its name that came before. Settles as the task does. */
  async run<T> (name: string, task: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name) ?? Promise.resolve()
    const mine = before.then(task, task)
    this.#last.set(name, mine)
    try {
      return await mine
    } finally {
      if (this.#last.get(name) === mine) this.#last.delete(name)
    }
  }
}
