// What a dashboard of ours may be: Grafana's own types, with the options and the fields of each kind of panel that is used.
import type { AnnotationQuery, Dashboard, DataSourceRef, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as StateTimelineFields,
  Options as StateTimelineOptions,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type {
  FieldConfig as TableFields,
  Options as TableOptions,
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type {
  FieldConfig as TimeSeriesFields,
  Options as TimeSeriesOptions,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** The same as JSON has it: the value of an enum, and not its name. */
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

// Grafana publishes no types of a query to Prometheus any more: these are the fields that its data source reads.
interface Query {
  refId: string;
  datasource: DataSourceRef;
  editorMode: 'code';
  expr: string;
  instant: boolean;
  range: boolean;
  format?: 'table' | 'time_series';
  legendFormat: string;
}

/** A link of a field; Grafana's types leave it open. */
interface FieldLink {
  title: string;
  url: string;
  targetBlank?: boolean;
}

type PanelOf<Kind extends string, Options, Fields> = Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Kind;
  title: string;
  description: string;
  options: Options;
  targets: Query[];
  fieldConfig: Omit<NonNullable<Panel<object, Fields>['fieldConfig']>, 'defaults'> & {
    // `custom` is open in Grafana's types, which would let every slip pass.
    defaults: Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom' | 'links'> & {
      custom?: Fields;
      links?: FieldLink[];
    };
  };
};

type AnyPanel =
  | PanelOf<'stat', StatOptions, never>
  | PanelOf<'timeseries', TimeSeriesOptions, TimeSeriesFields>
  | PanelOf<'state-timeline', StateTimelineOptions, StateTimelineFields>
  | PanelOf<'table', TableOptions, TableFields>;

/** The marks of a Prometheus query; the data source reads these fields beside the query itself. */
interface PrometheusAnnotation extends Omit<AnnotationQuery, 'target'> {
  target: { refId: string; expr: string; interval: string; datasource: DataSourceRef };
  step: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  useValueForTime: boolean;
}

interface QueryVariable extends VariableModel {
  definition?: string;
}

export type Checked = Json<
  Omit<Dashboard, 'panels' | 'annotations' | 'templating'> & {
    uid: string;
    title: string;
    panels: Array<AnyPanel | RowPanel>;
    annotations: { list: Array<PrometheusAnnotation | (AnnotationQuery & { builtIn: 1 })> };
    templating: { list: QueryVariable[] };
  }
>;
