/*
 * An application whose machine is off by `SKEW_MS`, from the first line on: `Date`, and what Node took the time to be
 * when it began. `POST /login` signs ada in, `GET /me` asks who it is and by which clock.
 */
const by = Number(process.env.SKEW_MS)
const RealDate = Date
globalThis.Date = class extends RealDate {
  constructor (...args: [] | [number]) {
    super(...(args.length === 0 ? [RealDate.now() + by] : args) as [number])
  }

  static override now (): number {
    return RealDate.now() + by
  }
} as DateConstructor
const { timeOrigin } = performance
Object.defineProperty(performance, 'timeOrigin', { value: timeOrigin + by })

const { startService } = await import('./timed-service.ts')
const app = await startService({ redis: process.env.REDIS_URL, keyPrefix: process.env.KEY_PREFIX })
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
