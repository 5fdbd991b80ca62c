/** Tasks of one name follow each other in the order they came; those of different names do not wait for each other. */
export class Rows {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Whether tasks of this name are still to be done. */
  isBusy (name: string): boolean {
    return this.#last.has(name)
  }

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
