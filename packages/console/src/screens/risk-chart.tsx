import { useEffect, useMemo, useRef, useState } from 'react'
import type { ReactNode } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { useLive } from '../api/live.ts'
import type { Instance } from '../api/types.ts'
import { instanceName } from '../lib/format.ts'
import { useTheme } from '../lib/theme.ts'

const HEIGHT = 132
/** Of lines, in turn: none is the colour of an outcome. Classes `line-0` … draw the legend. */
const LINES = ['--accent', '--line-a', '--line-b', '--muted']

/** Risk of each instance since this page connected: one stepped line an instance. */
export function RiskChart({ instances }: { instances: readonly Instance[] }): ReactNode {
  const box = useRef<HTMLDivElement>(null)
  const history = useLive((state) => state.risk)
  const [opened] = useState(() => Date.now())
  const theme = useTheme()

  const names = useMemo(() => instances.map(({ spiffeId }) => spiffeId), [instances])
  const data = useMemo(() => table(instances, history, opened), [instances, history, opened])
  const series = names.join(' ')

  useEffect(() => {
    const element = box.current
    if (!element) return
    const css = getComputedStyle(element)
    const color = (name: string): string => css.getPropertyValue(name).trim()
    const axis = {
      stroke: resolve(element, color('--muted')),
      grid: { stroke: resolve(element, color('--line')), width: 1 },
      ticks: { show: false },
      font: '11px sans-serif',
    }

    const chart = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), 'Etc/UTC'),
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 24, 0, 0],
        scales: { y: { range: [0, 100] } },
        axes: [
          {
            ...axis,
            size: 28,
            values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toISOString().slice(11, 19)),
          },
          { ...axis, size: 32, splits: [0, 50, 100] },
        ],
        series: [
          {},
          ...series.split(' ').map((name, i) => ({
            label: instanceName(name),
            stroke: resolve(element, color(LINES[i % LINES.length] ?? '--accent')),
            width: 1.75,
            spanGaps: true,
            points: { show: false },
            ...(uPlot.paths.stepped && { paths: uPlot.paths.stepped({ align: 1 }) }),
          })),
        ],
      },
      [[], ...series.split(' ').map(() => [])],
      element,
    )
    chartOf.set(element, chart)
    const resize = new ResizeObserver(() =>
      chart.setSize({ width: element.clientWidth, height: HEIGHT }),
    )
    resize.observe(element)
    return () => {
      resize.disconnect()
      chartOf.delete(element)
      chart.destroy()
    }
  }, [series, theme])

  useEffect(() => {
    if (box.current) chartOf.get(box.current)?.setData(data)
  }, [data, series, theme])

  const now = instances.map(
    ({ spiffeId, risk }) => `${instanceName(spiffeId)} ${Math.round(risk)} of 100`,
  )
  return (
    <>
      <div ref={box} className="chart" role="img" aria-label={`Risk: ${now.join(', ')}`} />
      {instances.length > 1 && (
        <ul className="chart-legend" aria-hidden="true">
          {instances.map(({ spiffeId }, i) => (
            <li key={spiffeId} className={`line-${i % LINES.length}`}>
              {instanceName(spiffeId)}
            </li>
          ))}
        </ul>
      )}
    </>
  )
}

const chartOf = new WeakMap<Element, uPlot>()

/** Canvas takes no `light-dark()`: asks the element what the value computes to. */
function resolve(element: HTMLElement, value: string): string {
  const before = element.style.color
  element.style.color = value
  const computed = getComputedStyle(element).color
  element.style.color = before
  return computed
}

/** uPlot's columns: seconds, then one column of scores an instance, `null` where it said nothing. */
function table(
  instances: readonly Instance[],
  history: Readonly<Record<string, readonly { at: number; score: number }[]>>,
  opened: number,
): uPlot.AlignedData {
  const now = Date.now()
  const points = instances.flatMap(({ spiffeId, risk }, column) => {
    const known = history[spiffeId] ?? []
    return [
      { at: opened - 60_000, score: known[0]?.score ?? risk, column },
      ...known.map(({ at, score }) => ({ at, score, column })),
      { at: now, score: risk, column },
    ]
  })
  points.sort((a, b) => a.at - b.at)
  return [
    points.map(({ at }) => at / 1000),
    ...instances.map((_, column) => points.map((p) => (p.column === column ? p.score : null))),
  ]
}
