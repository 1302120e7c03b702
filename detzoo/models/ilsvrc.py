"""The 200 classes of ImageNet's detection challenge, of which one published file is a detector."""

from ..categories import Categories

# In the order and the spelling of data/ILSVRC2016/labelmap_ilsvrc_det.prototxt in weiliu89/caffe.
_NAMES = """
accordion airplane ant antelope apple armadillo artichoke axe baby_bed backpack bagel balance_beam banana band_aid
banjo baseball basketball bathing_cap beaker bear bee bell_pepper bench bicycle binder bird bookshelf bow_tie bow bowl
brassiere burrito bus butterfly camel can_opener car cart cattle cello centipede chain_saw chair chime cocktail_shaker
coffee_maker computer_keyboard computer_mouse corkscrew cream croquet_ball crutch cucumber cup_or_mug diaper
digital_clock dishwasher dog domestic_cat dragonfly drum dumbbell electric_fan elephant face_powder fig filing_cabinet
flower_pot flute fox french_horn frog frying_pan giant_panda goldfish golf_ball golfcart guacamole guitar hair_dryer
hair_spray hamburger hammer hamster harmonica harp hat_with_a_wide_brim head_cabbage helmet hippopotamus horizontal_bar
horse hotdog iPod isopod jellyfish koala_bear ladle ladybug lamp laptop lemon lion lipstick lizard lobster maillot
maraca microphone microwave milk_can miniskirt monkey motorcycle mushroom nail neck_brace oboe orange otter pencil_box
pencil_sharpener perfume person piano pineapple ping-pong_ball pitcher pizza plastic_bag plate_rack pomegranate
popsicle porcupine power_drill pretzel printer puck punching_bag purse rabbit racket ray red_panda refrigerator
remote_control rubber_eraser rugby_ball ruler salt_or_pepper_shaker saxophone scorpion screwdriver seal sheep ski skunk
snail snake snowmobile snowplow soap_dispenser soccer_ball sofa spatula squirrel starfish stethoscope stove strainer
strawberry stretcher sunglasses swimming_trunks swine syringe table tape_player tennis_ball tick tie tiger toaster
traffic_light train trombone trumpet turtle tv_or_monitor unicycle vacuum violin volleyball waffle_iron washer
water_bottle watercraft whale wine_bottle zebra
"""
ILSVRC = Categories(tuple(_NAMES.split()))
