export { collectMetrics } from './collect.ts'
export type { MetricsOptions } from './collect.ts'
