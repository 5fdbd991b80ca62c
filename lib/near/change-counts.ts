/** How many groups ids fall into. A power of two. */
const GROUPS = 4_096

/**
 * How often sessions have changed, in a little memory however many there are: they are counted in groups. Ids are
 * random, and to fall into the group of one that has changed costs another no more than being read again.
 */
export class ChangeCounts {
  readonly #counts = new Uint32Array(GROUPS)

  of (id: string): number {
    return this.#counts[groupOf(id)] as number
  }

  add (id: string): void {
    const group = groupOf(id)
    this.#counts[group] = (this.#counts[group] as number) + 1
  }
}

function groupOf (id: string): number {
  let hash = 0
  for (let at = 0; at < 8; at++) hash = (hash * 31 + id.charCodeAt(at)) | 0
  return hash & (GROUPS - 1)
}
