import { Breaker } from '../breaker.ts'
import type { BreakerOptions } from '../breaker.ts'

/** A breaker for each server of a Redis, by its name: one that is down keeps nobody from the others. */
export class Breakers {
  readonly #breakers = new Map<string, Breaker>()
  readonly #optionsOf: (node: string) => BreakerOptions
  #isClosed = false

  constructor (optionsOf: (node: string) => BreakerOptions) {
    this.#optionsOf = optionsOf
  }

  of (node: string): Breaker {
    let breaker = this.#breakers.get(node)
    if (breaker === undefined) {
      breaker = new Breaker(this.#optionsOf(node))
      this.#breakers.set(node, breaker)
      // Something may still be under way: nobody is to hear of it, and no server to be asked for ever.
      if (this.#isClosed) breaker.close()
    }
    return breaker
  }

  close (): void {
    this.#isClosed = true
    for (const breaker of this.#breakers.values()) breaker.close()
  }
}
