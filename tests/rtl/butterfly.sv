// Butterfly networks with controls generated at run time: concentrate (gather) and dilute (scatter).
//
// Source: Hilewitz & Lee, "Fast Bit Compression and Expansion with Parallel Extract and Parallel Deposit
// Instructions", ASAP 2006. A word has LANES lanes, a power of two; lane 0 is in the lowest bits. Stage s joins
// lanes that lie 2^s apart; a control of 1 swaps. Both directions use the same controls.

// Ones up to and including each lane: a divide-and-conquer (Sklansky) tree of adders. One slot of COUNT bits a lane.
module prefix_counts #(
    parameter int LANES = 16,
    localparam int STAGES = $clog2(LANES),
    localparam int COUNT = STAGES + 1
) (
    input  wire [LANES-1:0] mask,
    output wire [LANES*COUNT-1:0] counts
);
    wire [LANES*COUNT-1:0] level [0:STAGES];
    for (genvar lane = 0; lane < LANES; lane++) begin : g_leaf
        assign level[0][lane*COUNT +: COUNT] = {{(COUNT - 1){1'b0}}, mask[lane]};
    end
    for (genvar s = 0; s < STAGES; s++) begin : g_level
        for (genvar lane = 0; lane < LANES; lane++) begin : g_lane
            localparam int LOWER_END = (lane >> (s + 1) << (s + 1)) + (1 << s) - 1;
            if (lane > LOWER_END) begin : g_upper
                assign level[s+1][lane*COUNT +: COUNT] =
                    level[s][lane*COUNT +: COUNT] + level[s][LOWER_END*COUNT +: COUNT];
            end else begin : g_lower
                assign level[s+1][lane*COUNT +: COUNT] = level[s][lane*COUNT +: COUNT];
            end
        end
    end
    assign counts = level[STAGES];
endmodule

// Left-rotate-and-complement of a register of ones, for every block of every stage: barrel rotators.
module rotate_complement #(
    parameter int LANES = 16,
    localparam int STAGES = $clog2(LANES),
    localparam int COUNT = STAGES + 1,
    localparam int HALF = LANES / 2
) (
    input  wire [LANES*COUNT-1:0] counts,
    output wire [STAGES*HALF-1:0] controls
);
    for (genvar s = 0; s < STAGES; s++) begin : g_stage
        localparam int D = 1 << s;
        for (genvar b = 0; b < HALF / D; b++) begin : g_block
            // ones below the middle of the block, modulo its 2·D lanes
            wire [s:0] amount = counts[(2 * b * D + D - 1) * COUNT +: s + 1];
            wire [D-1:0] turned [0:s+1];
            assign turned[0] = {D{1'b1}};
            for (genvar k = 0; k <= s; k++) begin : g_step
                assign turned[k+1] =
                    amount[k] ? (turned[k] << (1 << k)) | (~turned[k] >> (D - (1 << k))) : turned[k];
            end
            assign controls[s*HALF + b*D +: D] = turned[s+1];
        end
    end
endmodule

// The switches alone: inverse butterfly (GATHER, stages of distance 1, 2, …) or butterfly (…, 2, 1). Lanes that the
// mask does not select enter, or leave, as 0.
module butterfly_switches #(
    parameter int LANES = 16,
    parameter int WIDTH = 8,
    parameter bit GATHER = 1,
    localparam int STAGES = $clog2(LANES),
    localparam int HALF = LANES / 2
) (
    input  wire [LANES*WIDTH-1:0] payload,
    input  wire [LANES-1:0] mask,
    input  wire [STAGES*HALF-1:0] controls,
    output wire [LANES*WIDTH-1:0] result
);
    wire [LANES*WIDTH-1:0] selected;
    for (genvar lane = 0; lane < LANES; lane++) begin : g_select
        assign selected[lane*WIDTH +: WIDTH] = {WIDTH{mask[lane]}};
    end
    wire [LANES*WIDTH-1:0] word [0:STAGES];
    assign word[0] = GATHER ? payload & selected : payload;
    assign result = GATHER ? word[STAGES] : word[STAGES] & selected;
    for (genvar depth = 0; depth < STAGES; depth++) begin : g_stage
        localparam int S = GATHER ? depth : STAGES - 1 - depth;
        localparam int D = 1 << S;
        for (genvar n = 0; n < HALF; n++) begin : g_switch
            localparam int LOW = (n / D) * 2 * D + n % D;
            wire swap = controls[S*HALF + n];
            wire [WIDTH-1:0] lower = word[depth][LOW*WIDTH +: WIDTH];
            wire [WIDTH-1:0] upper = word[depth][(LOW+D)*WIDTH +: WIDTH];
            assign word[depth+1][LOW*WIDTH +: WIDTH] = swap ? upper : lower;
            assign word[depth+1][(LOW+D)*WIDTH +: WIDTH] = swap ? lower : upper;
        end
    end
endmodule

// A network with its controls. PIPELINED = 0: combinational. PIPELINED = 1: registers after the prefix counts, after
// the rotations and after the switches; a word leaves three cycles after it entered, one word a cycle.
module butterfly #(
    parameter int LANES = 16,
    parameter int WIDTH = 8,
    parameter bit GATHER = 1,
    parameter bit PIPELINED = 0,
    localparam int STAGES = $clog2(LANES),
    localparam int COUNT = STAGES + 1,
    localparam int HALF = LANES / 2
) (
    input  wire clock,
    input  wire reset,
    input  wire enable,
    input  wire valid_in,
    input  wire [LANES*WIDTH-1:0] payload,
    input  wire [LANES-1:0] mask,
    output wire valid_out,
    output wire [LANES*WIDTH-1:0] result
);
    wire [LANES*COUNT-1:0] counts, counts_to_rotate;
    wire [STAGES*HALF-1:0] controls, controls_to_switch;
    wire [LANES*WIDTH-1:0] payload_to_switch, switched;
    wire [LANES-1:0] mask_to_switch;

    prefix_counts #(.LANES(LANES)) counter (.mask(mask), .counts(counts));
    rotate_complement #(.LANES(LANES)) rotator (.counts(counts_to_rotate), .controls(controls));
    butterfly_switches #(.LANES(LANES), .WIDTH(WIDTH), .GATHER(GATHER)) switches (
        .payload(payload_to_switch), .mask(mask_to_switch), .controls(controls_to_switch), .result(switched)
    );

    if (PIPELINED) begin : g_pipeline
        reg [2:0] valid;
        reg [LANES*COUNT-1:0] counts_1;
        reg [STAGES*HALF-1:0] controls_2;
        reg [LANES*WIDTH-1:0] payload_1, payload_2, result_3;
        reg [LANES-1:0] mask_1, mask_2;
        always_ff @(posedge clock) begin
            if (reset) valid <= 3'b000;
            else if (enable) valid <= {valid[1:0], valid_in};
            if (enable) begin
                counts_1 <= counts;
                payload_1 <= payload;
                mask_1 <= mask;
                controls_2 <= controls;
                payload_2 <= payload_1;
                mask_2 <= mask_1;
                result_3 <= switched;
            end
        end
        assign counts_to_rotate = counts_1;
        assign controls_to_switch = controls_2;
        assign payload_to_switch = payload_2;
        assign mask_to_switch = mask_2;
        assign valid_out = valid[2];
        assign result = result_3;
    end else begin : g_combinational
        assign counts_to_rotate = counts;
        assign controls_to_switch = controls;
        assign payload_to_switch = payload;
        assign mask_to_switch = mask;
        assign valid_out = valid_in;
        assign result = switched;
    end
endmodule
